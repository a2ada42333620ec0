//! What the fuzz targets call: the parsers of what comes from outside, without a provider. Not a
//! part of the crate as it is built elsewhere.

use openidconnect::core::CoreJsonWebKeySet;
use serde_json::Value;

use super::code::{Returned, offered};
use super::config::OidcProvider;
use super::device::grant;
use super::discovery::{Known, Metadata, are_secure};
use super::token::{Expected, IdToken, Tokens, judge};
use crate::channel::message::{Challenge, Redirect};
use crate::time::Timestamp;

/// What the redirects of the target's login begin with.
pub const STATE: &str = "the-state-of-this-login";
/// The audience of its tokens.
pub const AUDIENCE: &str = "mfagate";
/// The nonce of its tokens.
pub const NONCE: &str = "the-nonce-of-this-login";
/// Its issuer.
pub const ISSUER: &str = "https://id.example.com";

/// What a client says that its browser came back with: the code, if it is this login's.
///
/// # Panics
/// When something was taken that must not be.
pub fn redirect(redirect_uri: &str, query: &str) -> Option<String> {
    let redirects = [
        Redirect::Loopback {
            path: "/callback".to_owned(),
        },
        Redirect::Exact {
            uri: "com.example.app:/callback".to_owned(),
        },
    ];
    let taken = offered(&redirects, redirect_uri)?;
    let is_one = [
        "http://127.0.0.1",
        "http://[::1]",
        "com.example.app:/callback",
    ]
    .into_iter()
    .any(|prefix| taken.as_str().starts_with(prefix));
    assert!(is_one && taken.as_str().ends_with("/callback"), "{taken:?}");
    let code = Returned::parse(query)?.code_if(STATE, ISSUER, true)?;
    assert!(
        query.contains("state="),
        "a code without a state is no one's"
    );
    Some(code)
}

/// Whose an ID token is, if it is good.
///
/// # Panics
/// When one was taken that must not be.
pub fn id_token(text: &str, now: Timestamp, known: &Provider) -> Option<String> {
    let token: IdToken = text.parse().ok()?;
    let expected = Expected {
        audience: AUDIENCE,
        trusted: &[],
        is_issued_to_audience: true,
        nonce: NONCE,
        nonce_may_lack: false,
        acr: &[],
        max_age: None,
        asked_at: now,
        now,
    };
    let login = judge(&token, &known.0, &expected).ok()?;
    assert_eq!(login.issuer, ISSUER);
    assert!(now < login.expires, "a token ends");
    Some(login.subject)
}

/// What a provider answers: its metadata (`m`), its keys (`k`), its tokens (`t`), or the beginning
/// of a device grant (`d`). Whether it is taken.
///
/// # Panics
/// When something was taken that must not be.
pub fn response(kind: u8, text: &[u8]) -> bool {
    let Ok(settings) = OidcProvider::new(ISSUER, AUDIENCE) else {
        return false;
    };
    match kind {
        b'm' => serde_json::from_slice::<Metadata>(text).is_ok_and(|metadata| {
            let is_taken = are_secure(&metadata, &settings);
            let endpoint = metadata.authorization_endpoint().url();
            assert!(!is_taken || endpoint.scheme() == "https", "{endpoint}");
            is_taken
        }),
        b'k' => serde_json::from_slice::<CoreJsonWebKeySet>(text).is_ok(),
        b't' => serde_json::from_slice::<Tokens>(text)
            .is_ok_and(|tokens| tokens.extra_fields().id_token().is_some()),
        b'd' => serde_json::from_slice(text).is_ok_and(|begun| {
            let now = Timestamp::from_millis(u64::MAX / 2);
            let Ok(grant) = grant(&settings, &begun, now) else {
                return false;
            };
            let Challenge::DeviceGrant {
                verification_uri,
                user_code,
                interval_ms,
                ..
            } = grant.challenge()
            else {
                return false;
            };
            assert!(
                verification_uri.starts_with("https://"),
                "{verification_uri}"
            );
            assert!(!user_code.contains(char::is_control), "{user_code:?}");
            assert!((1000..=60_000).contains(&interval_ms), "{interval_ms}");
            true
        }),
        _ => false,
    }
}

/// A provider of which everything is known.
#[derive(Debug)]
pub struct Provider(Known);

impl Provider {
    /// From its metadata and its key set; `None` when they are none.
    pub fn new(metadata: Value, keys: Value) -> Option<Self> {
        let metadata: Metadata = serde_json::from_value(metadata).ok()?;
        let keys = serde_json::from_value(keys).ok()?;
        let metadata = metadata.set_jwks(keys);
        Some(Self(Known::new(metadata, Timestamp::from_millis(0))))
    }
}
