//! What the fuzz targets call: the parsers of what comes from outside, without a provider. Not a
//! part of the crate as it is built elsewhere.

use serde_json::Value;

use super::code::{Returned, offered};
use super::discovery::{Known, Metadata};
use super::token::{Expected, IdToken, judge};
use crate::channel::message::Redirect;
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
        "a code without a state is nobody's"
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
