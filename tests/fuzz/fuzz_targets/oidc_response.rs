//! What an OpenID provider answers: its metadata, its keys, its tokens, or the beginning of a
//! device grant. A byte that says which, and the body.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mfagate::factor::oidc::fuzzing::response;

fuzz_target!(|bytes: &[u8]| {
    if let Some((kind, text)) = bytes.split_first() {
        response(*kind, text);
    }
});
