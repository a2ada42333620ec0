//! The seeds of the fuzz targets are logins that are right, so that what is made of them gets far.

use std::path::PathBuf;

use super::super::fuzzing::{self, AUDIENCE, ISSUER, NONCE, Provider, STATE};
use super::*;
use crate::oidc_provider::{compact, key_set, metadata_of};

fn corpus(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/fuzz/corpus/{target}"))
}

/// The key set that the target for tokens knows.
fn keys() -> PathBuf {
    corpus("../fuzz_targets/oidc_keys.json")
}

/// The seeds of a target by their names.
fn read(target: &str, name: &str) -> Vec<u8> {
    std::fs::read(corpus(target).join(name)).unwrap()
}

fn redirects() -> [(&'static str, String); 2] {
    let query = format!("code=abc&state={STATE}&iss=https%3A%2F%2Fid.example.com");
    [
        (
            "seed-loopback",
            format!("http://127.0.0.1:49152/callback\n{query}"),
        ),
        (
            "seed-app",
            format!("com.example.app:/callback\n{query}&session_state=x"),
        ),
    ]
}

/// What a provider answers, each after the byte that says what it is.
fn responses() -> [(&'static str, Vec<u8>); 4] {
    let seed = |kind: u8, body: serde_json::Value| {
        let mut seed = vec![kind];
        seed.extend(body.to_string().into_bytes());
        seed
    };
    let tokens = json!({
        "access_token": "a", "token_type": "Bearer", "expires_in": 300, "scope": "openid",
        "id_token": token(),
    });
    let device = json!({
        "device_code": "d", "user_code": "WDJB-MJHT", "interval": 5, "expires_in": 600,
        "verification_uri": format!("{ISSUER}/device"),
        "verification_uri_complete": format!("{ISSUER}/device?user_code=WDJB-MJHT"),
    });
    [
        ("seed-metadata", seed(b'm', metadata_of(ISSUER))),
        ("seed-keys", seed(b'k', key_set(&["one"]))),
        ("seed-tokens", seed(b't', tokens)),
        ("seed-device", seed(b'd', device)),
    ]
}

fn token() -> String {
    let now = NOW.as_secs();
    let claims = json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "nonce": NONCE, "iat": now, "nbf": now,
        "exp": now + 300, "auth_time": now, "azp": AUDIENCE, "acr": "2", "amr": ["pwd", "otp"],
        "email": "alice@example.com", "email_verified": true,
    });
    compact(&claims, Signing::Es256("one")).unwrap()
}

#[test]
fn the_fuzz_targets_seeds_are_right() {
    for (name, _) in redirects() {
        let seed = String::from_utf8(read("oidc_redirect", name)).unwrap();
        let (redirect_uri, query) = seed.split_once('\n').unwrap();
        assert_eq!(
            fuzzing::redirect(redirect_uri, query).as_deref(),
            Some("abc"),
            "{name}"
        );
    }
    for (name, _) in responses() {
        let seed = read("oidc_response", name);
        let (kind, text) = seed.split_first().unwrap();
        assert!(fuzzing::response(*kind, text), "{name}");
    }
    let known = std::fs::read(keys()).unwrap();
    let keys: serde_json::Value = serde_json::from_slice(&known).unwrap();
    assert_eq!(keys, key_set(&["one"]));
    let provider = Provider::new(metadata_of(ISSUER), keys).unwrap();
    let seed = read("oidc_id_token", "seed-right");
    let (now, text) = seed.split_first_chunk().unwrap();
    let now = Timestamp::from_millis(u64::from_le_bytes(*now));
    let text = std::str::from_utf8(text).unwrap();
    let subject = fuzzing::id_token(text, now, &provider);
    assert_eq!(subject.as_deref(), Some("alice"));
}

/// Rewrites them, where their format has changed.
#[test]
#[ignore = "writes into tests/fuzz/corpus"]
fn write_the_fuzz_targets_seeds() {
    for target in ["oidc_redirect", "oidc_id_token", "oidc_response"] {
        std::fs::create_dir_all(corpus(target)).unwrap();
    }
    for (name, seed) in redirects() {
        std::fs::write(corpus("oidc_redirect").join(name), seed).unwrap();
    }
    for (name, seed) in responses() {
        std::fs::write(corpus("oidc_response").join(name), seed).unwrap();
    }
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(corpus("oidc_id_token").join(name), bytes).unwrap();
    };
    std::fs::write(keys(), format!("{:#}\n", key_set(&["one"]))).unwrap();
    let now = NOW.as_millis().to_le_bytes();
    write("seed-right", &[&now, token().as_bytes()].concat());
}
