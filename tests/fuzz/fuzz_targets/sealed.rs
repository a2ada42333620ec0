//! Envelopes as a gate reads them from a store that others may have written to.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use mfagate::assurance::FactorKind;
use mfagate::id::{FactorId, UserId};
use mfagate::seal::{KeyRing, RingKey, AssociatedData, Sealed};

static RING: LazyLock<KeyRing> = LazyLock::new(|| {
    let id = |text: &str| text.parse().expect("a name");
    KeyRing::new(id("2026-11"), RingKey::from_bytes([7; 32]))
        .with_older(id("2025-11"), RingKey::from_bytes([8; 32]))
});

fuzz_target!(|bytes: &[u8]| {
    let user: UserId = "alice".parse().expect("a name");
    let row = AssociatedData::Factor {
        id: &FactorId::from_bytes([1; 16]),
        user: &user,
        kind: &FactorKind::TOTP,
    };
    let sealed = Sealed::from_bytes(bytes.to_vec());
    let _ = RING.is_current(&sealed);
    // No one without a key of the ring makes an envelope that opens.
    let error = RING.open(&row, &sealed).expect_err("a forgery");
    assert!(!error.to_string().is_empty());

    let ours = RING.seal(&row, bytes).expect("it can be sealed");
    assert!(RING.is_current(&ours));
    let opened = RING.open(&row, &ours).expect("it opens");
    assert_eq!(opened.expose_secret(), bytes);
});
