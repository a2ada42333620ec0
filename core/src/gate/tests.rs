//! The gate's machine in a simulated shell: a real store in memory that fails where it is told to,
//! an interface that is a map, and actions that are carried out in any order, or never.
//!
//! | file | concern |
//! |---|---|
//! | `fixtures` | who is enrolled, with which factors, and by which policy |
//! | `factors` | what each kind of factor asks for, and what a right answer is |
//! | `world` | the simulated shell: time, inputs, pending jobs, crashes |
//! | `people` | what clients do |
//! | `administration` | what administrators and other gates do in the store |
//! | `perform` | how it carries out an action |
//! | `model` | what must hold whatever happens, checked in every test at every step |
//! | `invariants` | a test for each invariant of the design |
//! | `crashes` | invariant 8, by a crash between any two jobs |
//! | `property` | random steps |
//! | the others | scenarios, by context |

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test picks the variants that it is about"
)]

mod administration;
mod admission;
mod authorise;
mod ceremony;
mod choice;
mod comparison;
mod crashes;
mod enrolment;
mod factors;
mod fixtures;
mod invariants;
mod model;
mod people;
mod perform;
mod policy;
mod policy_change;
mod property;
mod renewal;
mod roaming;
mod rounds;
mod session_end;
mod start_stop;
mod steps;
mod world;
