//! An OpenID provider of the tests' own, on a loopback port: honest, until a test tells it to lie.
//! It shares no code with the verifier. No one logs in at it by hand: anyone who opens its
//! authorisation endpoint is the user that it was told of last.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use p256::ecdsa::signature::Signer;
use p256::ecdsa::{Signature, SigningKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The gate's registration.
pub(crate) const CLIENT: &str = "mfagate";

/// A running provider; it ends when this is dropped.
pub(crate) struct HostileProvider {
    shared: Arc<Shared>,
    server: tokio::task::JoinHandle<()>,
}

/// What it does, and what it was asked.
struct Shared {
    issuer: String,
    acts: Mutex<Acts>,
}

/// How it behaves from now on. What is not set is as an honest provider does it.
#[derive(Clone)]
pub(crate) struct Acts {
    /// The user, and what the provider says of them in addition to the protocol's own claims.
    pub(crate) claims: Value,
    /// What is different about the next tokens; null leaves a claim out.
    pub(crate) lies: Value,
    /// How tokens are signed.
    pub(crate) signing: Signing,
    /// What is different about the metadata; null leaves a member out.
    pub(crate) metadata: Value,
    /// An answer in the place of the one at this path.
    pub(crate) instead: BTreeMap<&'static str, Instead>,
    /// What a poll is answered with, one by one; then the user has logged in.
    pub(crate) polls: Vec<&'static str>,
    /// Whether a code is good more than once, which no honest provider's is.
    pub(crate) codes_stay_good: bool,
    /// The names of the keys in the key set.
    pub(crate) published: Vec<&'static str>,
    /// How often each path was asked for.
    pub(crate) asked: BTreeMap<String, usize>,
    /// The clock, in seconds.
    pub(crate) now: u64,
    grants: BTreeMap<String, Granted>,
    serial: u64,
}

/// What a code or a device code stands for.
#[derive(Clone)]
struct Granted {
    /// Who the user said that they are, if not the one that the provider was told of.
    subject: Option<String>,
    nonce: Option<String>,
    challenge: Option<String>,
    redirect_uri: Option<String>,
}

/// How a token is signed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signing {
    /// ES256, by a key of this name.
    Es256(&'static str),
    /// By another key than the one that is named.
    Swapped,
    /// Not at all.
    None,
    /// A MAC whose key is the public key's coordinates, or what everybody can know else.
    Hs256,
    /// By a key, and then with a bit changed.
    Tampered,
    /// No token at all.
    Missing,
}

/// An answer that is none.
#[derive(Clone)]
pub(crate) enum Instead {
    /// Sends the gate to this address.
    Redirect(String),
    /// Text without end.
    Endless,
    /// Nothing, for so long.
    Slow(Duration),
    /// This status and text.
    Says(u16, String),
}

impl HostileProvider {
    /// Starts one, at a time in seconds.
    pub(crate) async fn start(now: u64) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            issuer: format!("http://{address}"),
            acts: Mutex::new(Acts {
                claims: json!({ "sub": "alice-at-provider" }),
                lies: json!({}),
                signing: Signing::Es256("one"),
                metadata: json!({}),
                instead: BTreeMap::new(),
                polls: Vec::new(),
                codes_stay_good: false,
                published: vec!["one"],
                asked: BTreeMap::new(),
                now,
                grants: BTreeMap::new(),
                serial: 0,
            }),
        });
        let routes = Router::new()
            .route("/.well-known/openid-configuration", get(metadata))
            .route("/jwks", get(jwks))
            .route("/authorize", get(authorize))
            .route("/token", post(token))
            .route("/device", post(device))
            .with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move {
            axum::serve(listener, routes).await.unwrap();
        });
        Self { shared, server }
    }

    pub(crate) fn issuer(&self) -> String {
        self.shared.issuer.clone()
    }

    /// What it does from now on.
    pub(crate) fn acts(&self) -> MutexGuard<'_, Acts> {
        self.shared.acts.lock().unwrap()
    }

    /// How often a path was asked for.
    pub(crate) fn asked(&self, path: &str) -> usize {
        self.acts().asked.get(path).copied().unwrap_or(0)
    }

    /// A browser whose user is logged in opens an address: the query that it comes back with.
    pub(crate) async fn browse(&self, url: &str) -> String {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        let response = client.get(url).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::FOUND, "{url}");
        let location = response.headers()[header::LOCATION].to_str().unwrap();
        let (_, query) = location.split_once('?').unwrap();
        query.to_owned()
    }

    /// As [`browse`](Self::browse), of a user of the caller's choice.
    pub(crate) async fn browse_as(&self, subject: &str, url: &str) -> String {
        let mut url = url::Url::parse(url).unwrap();
        url.query_pairs_mut().append_pair("login_hint", subject);
        self.browse(url.as_str()).await
    }

    /// A token for a workload, as a metadata service makes it.
    pub(crate) fn workload_token(&self, audience: &str, nonce: Option<&str>) -> String {
        let mut acts = self.acts();
        self.shared.sign(&mut acts, audience, nonce, None).unwrap()
    }
}

impl Drop for HostileProvider {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Shared {
    fn acts(&self, path: &str) -> Acts {
        let mut acts = self.acts.lock().unwrap();
        *acts.asked.entry(path.to_owned()).or_default() += 1;
        acts.clone()
    }

    fn sign(
        &self,
        acts: &mut Acts,
        audience: &str,
        nonce: Option<&str>,
        subject: Option<&str>,
    ) -> Option<String> {
        acts.serial += 1;
        let mut claims = json!({
            "iss": self.issuer,
            "aud": audience,
            "iat": acts.now,
            "exp": acts.now + 300,
            "auth_time": acts.now,
            "jti": acts.serial,
        });
        if let Some(nonce) = nonce {
            claims["nonce"] = nonce.into();
        }
        merge(&mut claims, &acts.claims);
        if let Some(subject) = subject {
            claims["sub"] = subject.into();
        }
        merge(&mut claims, &acts.lies);
        compact(&claims, acts.signing)
    }
}

fn merge(into: &mut Value, from: &Value) {
    for (name, value) in from.as_object().unwrap() {
        if value.is_null() {
            into.as_object_mut().unwrap().remove(name);
        } else {
            into[name] = value.clone();
        }
    }
}

/// A key by its name, the same in every run.
fn key(name: &str) -> SigningKey {
    SigningKey::from_slice(&Sha256::digest(name)).unwrap()
}

/// A token in its compact form (RFC 7515, section 7.1).
pub(crate) fn compact(claims: &Value, signing: Signing) -> Option<String> {
    let (algorithm, named) = match signing {
        Signing::Es256(named) => ("ES256", named),
        Signing::Swapped | Signing::Tampered => ("ES256", "one"),
        Signing::None => ("none", "one"),
        Signing::Hs256 => ("HS256", "one"),
        Signing::Missing => return None,
    };
    let header = json!({ "alg": algorithm, "kid": named, "typ": "JWT" });
    let parts = [header, claims.clone()].map(|part| encode(part.to_string()));
    let input = parts.join(".");
    let signed_by = |name: &str| {
        let signature: Signature = key(name).sign(input.as_bytes());
        signature.to_bytes().to_vec()
    };
    let signature = match signing {
        Signing::Es256(named) => signed_by(named),
        Signing::Swapped => signed_by("another"),
        Signing::None | Signing::Missing => Vec::new(),
        Signing::Hs256 => mac(&input),
        Signing::Tampered => {
            let mut signature = signed_by("one");
            signature[40] ^= 1;
            signature
        }
    };
    Some(format!("{input}.{}", encode(signature)))
}

/// HMAC-SHA-256 under the public key, which everybody knows.
fn mac(input: &str) -> Vec<u8> {
    let point = key("one").verifying_key().to_sec1_point(false);
    let mac = Hmac::<Sha256>::new_from_slice(&Sha256::digest(point.as_bytes()));
    let mac = mac.unwrap().chain_update(input).finalize();
    mac.into_bytes().to_vec()
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64URL_NOPAD.encode(bytes.as_ref())
}

/// The key set with these keys (RFC 7517, section 5).
pub(crate) fn key_set(names: &[&str]) -> Value {
    let keys = names.iter().map(|name| {
        let point = key(name).verifying_key().to_sec1_point(false);
        let (x, y) = (encode(&point.as_bytes()[1..33]), encode(&point.as_bytes()[33..]));
        json!({ "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": name, "x": x, "y": y })
    });
    json!({ "keys": keys.collect::<Vec<_>>() })
}

/// The metadata of an issuer.
pub(crate) fn metadata_of(issuer: &str) -> Value {
    json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "device_authorization_endpoint": format!("{issuer}/device"),
        "jwks_uri": format!("{issuer}/jwks"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256", "HS256", "none"],
        "claims_parameter_supported": true,
        "authorization_response_iss_parameter_supported": true,
    })
}

/// The answer in the place of an honest one.
async fn instead(acts: &Acts, path: &str) -> Option<Response> {
    match acts.instead.get(path)?.clone() {
        Instead::Redirect(to) => {
            Some((StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, to)]).into_response())
        }
        Instead::Endless => Some(Body::from_stream(Endless).into_response()),
        Instead::Slow(span) => {
            tokio::time::sleep(span).await;
            None
        }
        Instead::Says(status, text) => {
            let status = StatusCode::from_u16(status).unwrap();
            Some((status, [(header::CONTENT_TYPE, "application/json")], text).into_response())
        }
    }
}

/// A body that does not end.
struct Endless;

impl futures_core::Stream for Endless {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Ready(Some(Ok(Bytes::from_static(&[b' '; 4096]))))
    }
}

fn says(status: StatusCode, value: &Value) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (status, kind, value.to_string()).into_response()
}

async fn metadata(State(shared): State<Arc<Shared>>) -> Response {
    let path = "/.well-known/openid-configuration";
    let acts = shared.acts(path);
    if let Some(response) = instead(&acts, path).await {
        return response;
    }
    let mut metadata = metadata_of(&shared.issuer);
    merge(&mut metadata, &acts.metadata);
    says(StatusCode::OK, &metadata)
}

async fn jwks(State(shared): State<Arc<Shared>>) -> Response {
    let acts = shared.acts("/jwks");
    match instead(&acts, "/jwks").await {
        Some(response) => response,
        None => says(StatusCode::OK, &key_set(&acts.published)),
    }
}

fn form(text: &str) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(text.as_bytes())
        .into_owned()
        .collect()
}

async fn authorize(State(shared): State<Arc<Shared>>, RawQuery(query): RawQuery) -> Response {
    let acts = shared.acts("/authorize");
    if let Some(response) = instead(&acts, "/authorize").await {
        return response;
    }
    let asked = form(&query.unwrap_or_default());
    assert_eq!(asked["client_id"], CLIENT);
    assert_eq!(asked["response_type"], "code");
    assert_eq!(asked["code_challenge_method"], "S256");
    let code = {
        let mut acts = shared.acts.lock().unwrap();
        acts.serial += 1;
        let code = format!("code-{}", acts.serial);
        acts.grants.insert(
            code.clone(),
            Granted {
                subject: asked.get("login_hint").cloned(),
                nonce: asked.get("nonce").cloned(),
                challenge: asked.get("code_challenge").cloned(),
                redirect_uri: asked.get("redirect_uri").cloned(),
            },
        );
        code
    };
    let mut back = url::Url::parse(&asked["redirect_uri"]).unwrap();
    back.query_pairs_mut()
        .append_pair("code", &code)
        .append_pair("state", &asked["state"])
        .append_pair("iss", &shared.issuer);
    (StatusCode::FOUND, [(header::LOCATION, String::from(back))]).into_response()
}

async fn device(State(shared): State<Arc<Shared>>, body: String) -> Response {
    let acts = shared.acts("/device");
    if let Some(response) = instead(&acts, "/device").await {
        return response;
    }
    let asked = form(&body);
    let mut acts = shared.acts.lock().unwrap();
    acts.serial += 1;
    let code = format!("device-code-{}", acts.serial);
    let granted = Granted {
        subject: None,
        nonce: asked.get("nonce").cloned(),
        challenge: None,
        redirect_uri: None,
    };
    acts.grants.insert(code.clone(), granted);
    let answer = json!({
        "device_code": code,
        "user_code": "WDJB-MJHT",
        "verification_uri": format!("{}/activate", shared.issuer),
        "verification_uri_complete": format!("{}/activate?code=WDJB-MJHT", shared.issuer),
        "expires_in": 120,
        "interval": 5,
    });
    says(StatusCode::OK, &answer)
}

async fn token(State(shared): State<Arc<Shared>>, _: HeaderMap, body: String) -> Response {
    let acts = shared.acts("/token");
    if let Some(response) = instead(&acts, "/token").await {
        return response;
    }
    let refuse = |error: &str| says(StatusCode::BAD_REQUEST, &json!({ "error": error }));
    let asked = form(&body);
    let mut acts = shared.acts.lock().unwrap();
    let granted = if let Some(code) = asked.get("device_code") {
        if !acts.polls.is_empty() {
            let error = acts.polls.remove(0);
            return refuse(error);
        }
        acts.grants.remove(code)
    } else {
        let code = &asked["code"];
        let granted = acts.grants.get(code).cloned();
        if !acts.codes_stay_good {
            acts.grants.remove(code);
        }
        let verifier = asked.get("code_verifier").cloned().unwrap_or_default();
        let challenge = Some(encode(Sha256::digest(verifier)));
        granted.filter(|granted| {
            granted.redirect_uri.as_ref() == asked.get("redirect_uri")
                && granted.challenge == challenge
        })
    };
    let Some(granted) = granted else {
        return refuse("invalid_grant");
    };
    let token = shared.sign(
        &mut acts,
        CLIENT,
        granted.nonce.as_deref(),
        granted.subject.as_deref(),
    );
    let mut answer =
        json!({ "access_token": "not used", "token_type": "Bearer", "expires_in": 300 });
    if let Some(token) = token {
        answer["id_token"] = token.into();
    }
    says(StatusCode::OK, &answer)
}
