//! Nothing but its dependencies: all that the core can have, with the features that it asks of them.
//!
//! `cargo xtask check` compiles the core with each of its features alone, and this crate beside it, so that
//! a dependency is one and the same each time and compiled once. What a feature of the core needs of a
//! dependency and does not ask for is found by the sets that are linted without it.
