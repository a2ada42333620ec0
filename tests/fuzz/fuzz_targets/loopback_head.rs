//! What comes to the port where a client waits for its browser.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mfagate::prove::oidc::fuzzing::heard;

fuzz_target!(|bytes: &[u8]| {
    heard(bytes);
});
