//! A server of the test's own, which ends with it.

use std::path::PathBuf;
use std::process::{Child, Command};

/// A process that is ended, by its id, when this is dropped.
pub(crate) struct Server(pub(crate) Child);

impl Drop for Server {
    fn drop(&mut self) {
        // Keycloak is a script's child: the script passes this signal on, and SIGKILL it could not.
        let end = format!("kill -TERM {}", self.0.id());
        _ = Command::new("sh").arg("-c").arg(end).status();
        _ = self.0.wait();
    }
}

/// Where `cargo xtask test` has put the providers.
pub(crate) fn installed(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../target/providers")
        .join(name);
    assert!(
        folder.exists(),
        "{name} is not installed: run `cargo xtask providers`"
    );
    folder.canonicalize().unwrap()
}

pub(crate) fn start(command: &mut Command) -> Server {
    Server(
        command
            .spawn()
            .expect("the provider's runtime is installed"),
    )
}
