//! The program. All of it is in the library, so that the tests in `examples/tests` run the same code.

fn main() {
    connect::main();
}
