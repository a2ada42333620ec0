//! Texts as a gate reads them from an enrolled peer that may be hostile.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mfagate::channel::engine::{Hello, Request};

fuzz_target!(|text: &[u8]| {
    if let Ok(hello) = Hello::from_json(text) {
        let again = serde_json::to_vec(&hello).expect("a message can be written");
        assert_eq!(Hello::from_json(&again), Ok(hello));
    }
    if let Ok(request) = Request::from_json(text) {
        let again = serde_json::to_vec(&request).expect("a message can be written");
        assert_eq!(Request::from_json(&again), Ok(request));
    }
});
