//! The Python package `mfagate`, over the core: its module `mfagate._native`.

mod native;
