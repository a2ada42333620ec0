//! A password's record, as a store may hand it out.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mfagate::factor::password::fuzz_stored;
use mfagate::seal::Secret;

fuzz_target!(|bytes: &[u8]| {
    fuzz_stored(&Secret::new(bytes.to_vec()));
});
