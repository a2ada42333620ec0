//! The WireGuard of another make that core/tests/interface starts and Debian does not have, below
//! target/boringtun.

use crate::command::{Failure, cargo, run};

/// As its makers publish it.
const VERSION: &str = "0.7.1";

/// Installs it where it is not there, or is another version. It is optimised a little: with less its
/// packets take long, and more takes long to compile.
pub(crate) fn install() -> Result<(), Failure> {
    let arguments = format!(
        "install --locked --debug --root target/boringtun --version ={VERSION} boringtun-cli"
    );
    let mut install = cargo(&arguments);
    install.env("CARGO_PROFILE_DEV_OPT_LEVEL", "1");
    run(install.env("CARGO_PROFILE_DEV_DEBUG", "false"))
}
