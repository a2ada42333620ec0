//! One-time codes as users type them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mfagate::channel::message::Code;

fuzz_target!(|text: &str| {
    let kept: String = text.chars().filter(|c| !matches!(c, ' ' | '-')).collect();
    let is_code = (6..=10).contains(&kept.len()) && kept.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<Code>() {
        Ok(code) => {
            assert!(is_code);
            assert_eq!(code.expose_secret(), kept);
            let json = serde_json::to_string(&code).expect("it can be written");
            assert_eq!(serde_json::from_str::<Code>(&json).ok(), Some(code));
        }
        Err(_) => assert!(!is_code),
    }
    // The same by the way that it comes from the channel.
    let json = serde_json::to_string(text).expect("a text can be written");
    let read = serde_json::from_str::<Code>(&json);
    assert_eq!(read.ok(), text.parse().ok());
    assert_eq!(Code::try_from(text.to_owned()).ok(), text.parse().ok());
});
