//! E-mail addresses as users type them, which go into commands of SMTP and into headers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mfagate::factor::email_code::EmailAddress;

fuzz_target!(|text: &str| {
    let Ok(address) = text.parse::<EmailAddress>() else {
        return;
    };
    let whole = address.expose();
    assert_eq!(whole, text.trim());
    assert!(whole.len() <= 254);
    // Nothing that could end a line, a path in angle brackets or a quoted text, and begin another.
    let is_odd = |c: char| c.is_control() || c.is_whitespace() || "\"<>".contains(c);
    assert!(!whole.contains(is_odd));
    let (user, domain) = whole.rsplit_once('@').expect("two parts");
    assert!(!user.is_empty() && !domain.is_empty());
    let first = user.chars().next().expect("a first letter");
    assert_eq!(address.masked(), format!("{first}…@{domain}"));
    assert_eq!(EmailAddress::from_secret(&address.to_secret()), Ok(address));
});
