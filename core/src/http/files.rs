//! How many files the process may have open.

#[cfg(unix)]
use std::io;

/// Raises the process's limit of open files (`RLIMIT_NOFILE`) as far as the system allows without
/// privileges, and returns it. Call it once at the start: each connection of a client takes a file,
/// and the usual limit of 1,024 serves few.
///
/// No function of this crate does it by itself, because it concerns the whole process: programs
/// that it starts inherit the limit, and code that uses `select(2)` must have no more than 1,024
/// files.
///
/// # Errors
/// The system refused; the limit is as it was, and [`serve`](fn@super::serve) keeps below it.
#[cfg(unix)]
pub fn raise_file_limit() -> io::Result<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, raised)?;
    Ok(file_limit())
}

/// How many files the process may have open.
#[cfg(unix)]
pub(super) fn file_limit() -> u64 {
    use rustix::process::{Resource, getrlimit};

    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Systems without such a limit.
#[cfg(not(unix))]
pub(super) const fn file_limit() -> u64 {
    u64::MAX
}
