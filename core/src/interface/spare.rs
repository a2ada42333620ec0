//! File descriptors that are held for calls which open some by themselves.

use std::fs::File;

/// As many as one call may need: a netlink socket, or a program that is run with its pipes.
const HELD: usize = 8;

/// Descriptors that are given up to let a call through when the process has used up its limit.
#[derive(Debug, Default)]
pub(super) struct Spare(Vec<File>);

impl Spare {
    /// As many as there are.
    pub(super) fn hold() -> Self {
        let mut spare = Self(Vec::new());
        spare.fill();
        spare
    }

    /// Calls; where that fails, once more with these descriptors free. What failed for another
    /// reason fails again.
    pub(super) fn call<T, E>(&mut self, mut call: impl FnMut() -> Result<T, E>) -> Result<T, E> {
        call().or_else(|_| {
            self.0.clear();
            let done = call();
            self.fill();
            done
        })
    }

    fn fill(&mut self) {
        while self.0.len() < HELD {
            let Ok(file) = File::open("/dev/null") else {
                return;
            };
            self.0.push(file);
        }
    }
}
