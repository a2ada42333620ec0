//! Key-ring files as operators write them. No error repeats a key.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mfagate::seal::KeyRing;

fuzz_target!(|text: &str| {
    match text.parse::<KeyRing>() {
        Ok(ring) => {
            let lines = ring.expose_lines();
            let again: KeyRing = lines.parse().expect("what was written can be read");
            assert_eq!(*again.expose_lines(), *lines);
            assert_eq!(again.active(), ring.active());
        }
        Err(error) => {
            let said = format!("{error} {error:?}");
            // As long as a key: anything shorter may be the name of one.
            let mut words = text.split_whitespace().filter(|word| word.len() > 32);
            assert!(!words.any(|word| said.contains(word)), "{said}");
        }
    }
});
