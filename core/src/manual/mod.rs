//! The chapters.

#[doc = include_str!("protocol.md")]
pub mod protocol {}
