//! The chapters.

pub mod protocol {
    //! The protocol.
}

#[doc = include_str!("threat_model.md")]
pub mod threat_model {}

#[doc = include_str!("expiry.md")]
pub mod expiry {}
