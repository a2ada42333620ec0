//! A password's record, as a store may hand it out.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mfagate::factor::password::fuzz_stored;
use mfagate::seal::SecretBytes;

fuzz_target!(|bytes: &[u8]| {
    fuzz_stored(&SecretBytes::new(bytes.to_vec()));
});
