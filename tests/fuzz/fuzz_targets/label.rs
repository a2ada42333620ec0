//! Labels: from a message, where they keep the rule or are refused, and from a store, where they
//! may be older than it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mfagate::id::{Label, is_printable};

fuzz_target!(|text: &str| {
    let stored = Label::from_stored(text);
    assert!(stored.as_str().chars().all(is_printable));
    assert!((1..=Label::LONGEST).contains(&stored.as_str().chars().count()));
    assert_eq!(stored.as_str().parse(), Ok(stored.clone()));
    if let Ok(label) = text.parse::<Label>() {
        assert_eq!(label, stored);
        assert_eq!(label.as_str(), text);
    }
});
