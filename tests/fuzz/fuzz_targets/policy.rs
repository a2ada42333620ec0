//! Policies as administrators write them, in both formats.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mfagate::policy::Policy;

fuzz_target!(|text: &str| {
    for read in [Policy::from_toml(text), Policy::from_json(text)] {
        match read {
            Ok(policy) => {
                policy.check().expect("what was read is in order");
                let toml = policy.to_toml().expect("what was read can be written");
                let again = Policy::from_toml(&toml).expect("what was written can be read");
                assert_eq!(again, policy);
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                if let Some(line) = error.line() {
                    assert!((1..=text.matches('\n').count() + 2).contains(&line));
                }
            }
        }
    }
});
