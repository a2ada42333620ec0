//! The daemon for the tests in `daemon`: the package's own `main`, in an executable that cargo builds
//! together with the tests and names to them.

use std::process::ExitCode;

fn main() -> ExitCode {
    gate_server::main()
}
