//! Responses of a WireGuard program behind its configuration socket.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mfagate::interface::uapi::fuzzing::peers;

fuzz_target!(|response: &[u8]| {
    peers(response);
});
