//! The client for the tests in `daemon`: the package's own `main`, in an executable that cargo builds
//! together with the tests and names to them.

fn main() {
    connect::main();
}
