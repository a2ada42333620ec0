//! ID tokens, before the keys of a provider that is known: eight bytes of time, and the token.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use mfagate::factor::oidc::fuzzing::{ISSUER, Provider, id_token};
use mfagate::time::Timestamp;
use serde_json::json;

/// The key set that a seed's token is signed by.
const KEYS: &str = include_str!("oidc_keys.json");

static PROVIDER: LazyLock<Provider> = LazyLock::new(|| {
    let metadata = json!({
        "issuer": ISSUER,
        "authorization_endpoint": format!("{ISSUER}/authorize"),
        "token_endpoint": format!("{ISSUER}/token"),
        "jwks_uri": format!("{ISSUER}/jwks"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256", "RS256", "EdDSA", "HS256", "none"],
    });
    let keys = serde_json::from_str(KEYS).expect("JSON");
    Provider::new(metadata, keys).expect("metadata and keys")
});

fuzz_target!(|bytes: &[u8]| {
    let Some((now, text)) = bytes.split_first_chunk() else {
        return;
    };
    let now = Timestamp::from_millis(u64::from_le_bytes(*now));
    if let Ok(text) = std::str::from_utf8(text) {
        id_token(text, now, &PROVIDER);
    }
});
