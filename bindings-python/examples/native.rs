//! The same library once more, as an example: `cargo test --workspace --all-features` builds examples,
//! with what it builds for all tests, and never a library without Rust tests. So the tests in Python
//! cost no second build of the core. See `cargo xtask test --only python`.
//!
//! In the mode of tests it is empty: nothing here may be linked into a program, which has no Python.
#![cfg(not(test))]

#[path = "../src/native/mod.rs"]
mod native;
