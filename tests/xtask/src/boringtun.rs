//! The WireGuard of another make that core/tests/interface starts and Debian does not have, below
//! target/boringtun.

use crate::command::{Failure, cargo, run};

/// As its makers publish it.
const VERSION: &str = "0.7.1";

/// Installs it where it is not there, or is another version.
pub(crate) fn install() -> Result<(), Failure> {
    let arguments =
        format!("install --locked --root target/boringtun --version ={VERSION} boringtun-cli");
    run(&mut cargo(&arguments))
}
