//! The gate's machine in a simulated shell: a real store in memory that fails where it is told to,
//! an interface that is a map, and actions that are carried out in any order, or never.
//!
//! | file | concern |
//! |---|---|
//! | `cast` | who is enrolled, by which policy, and what a right code is |
//! | `world` | the simulated shell: time, inputs, pending jobs, crashes |
//! | `people` | what clients, administrators and other gates do |
//! | `perform` | how it carries out an action |
//! | `model` | what must hold whatever happens, checked in every test at every step |
//! | `invariants` | a test for each invariant of the design |
//! | `crashes` | invariant 8, by a crash between any two jobs |
//! | `property` | random steps |
//! | the others | scenarios, by subject |

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test picks the variants that it is about"
)]

mod admission;
mod cast;
mod ceremony;
mod crashes;
mod ending;
mod invariants;
mod model;
mod people;
mod perform;
mod property;
mod renewal;
mod roaming;
mod standing;
mod world;
