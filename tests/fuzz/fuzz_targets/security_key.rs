//! Packets of a security key on USB (CTAPHID), and the CBOR in them. A byte that says whether it is
//! asked to enrol, and the packets.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mfagate::prove::webauthn::security_key::fuzzing::answer;

fuzz_target!(|bytes: &[u8]| {
    answer(bytes);
});
