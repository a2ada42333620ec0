//! The program. All of it is in the library, so that the tests in `examples/tests` run the same code.

use std::process::ExitCode;

fn main() -> ExitCode {
    gate_server::main()
}
