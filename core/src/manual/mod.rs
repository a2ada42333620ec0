//! The chapters.

pub mod protocol {
    //! The protocol.
}

#[cfg(feature = "gate")]
#[doc = include_str!("writing_a_store.md")]
pub mod writing_a_store {}
