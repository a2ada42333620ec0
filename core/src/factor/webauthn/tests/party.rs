//! Which relying parties there can be.

use super::*;

#[test]
fn an_id_is_a_domain_name() {
    for id in ["gate.example.com", "localhost", "example.com"] {
        assert!(RelyingParty::new(id).is_ok(), "{id}");
    }
    for id in [
        "",
        "Gate.example.com",
        "https://example.com",
        "example.com:443",
        "example.com/",
        "127.0.0.1",
        "[::1]",
        "me@example.com",
        "a b",
    ] {
        let refused = RelyingParty::new(id).map(|_| ());
        assert_eq!(
            refused,
            Err(InvalidRelyingParty(RelyingPartyFault::Id)),
            "{id}"
        );
    }
}

#[test]
fn an_origin_is_the_partys_own_in_a_secure_context_or_an_android_app() {
    let app = format!("android:apk-key-hash:{}", "A".repeat(43));
    for (id, origin) in [
        ("example.com", "https://example.com"),
        ("example.com", "https://login.example.com"),
        ("example.com", "https://login.example.com:8443"),
        ("localhost", "http://localhost:8080"),
        ("example.com", app.as_str()),
    ] {
        let party = RelyingParty::new(id).unwrap().origin(origin);
        assert!(WebAuthnVerifier::new(party.unwrap()).is_ok(), "{origin}");
    }
    for (id, origin) in [
        ("example.com", "https://badexample.com"),
        ("example.com", "https://example.com.evil.example"),
        ("example.com", "http://example.com"),
        ("example.com", "http://localhost"),
        ("example.com", "https://example.com/"),
        ("example.com", "https://example.com:443"),
        ("example.com", "https://me@example.com"),
        ("example.com", "https://EXAMPLE.com"),
        ("example.com", "android:apk-key-hash:AAAA"),
        ("example.com", "android:"),
        ("example.com", "null"),
        ("example.com", ""),
    ] {
        let refused = RelyingParty::new(id).unwrap().origin(origin).map(|_| ());
        assert_eq!(
            refused,
            Err(InvalidRelyingParty(RelyingPartyFault::Origin)),
            "{origin}"
        );
    }
}
