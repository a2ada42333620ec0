//! Client profiles as users get them from anyone.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mfagate::client::Profile;

fuzz_target!(|text: &str| {
    match Profile::from_toml(text) {
        Ok(profile) => {
            let toml = profile.expose_toml();
            let again = Profile::from_toml(&toml).expect("what was written can be read");
            assert_eq!(again, profile);
            let key = profile.private_key.expose_base64();
            assert!(!format!("{profile:?}").contains(key.as_str()));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
