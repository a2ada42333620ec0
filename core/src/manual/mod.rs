//! The chapters.

pub mod protocol {
    //! The protocol.
}
