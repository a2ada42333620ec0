//! Attempts that wait: a thousand whose OpenID provider answers after five seconds, and what
//! admissions by one-time password take meanwhile, beside what they take when no one waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use mfagate::channel::message::{Answer, Challenge, Redirect, SecretString};
use mfagate::factor::oidc::{Identity, OidcProvider, OidcVerifier};
use mfagate::id::Label;
use mfagate::store::MemoryStore;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::totp::Totp;
use crate::floor::Error;
use crate::gate::office::{Device, Office};
use crate::measure::{Samples, micros, now, time_async};
use crate::report::{Report, Target};

const WAITING: u32 = 1000;
const ADMISSIONS: u32 = 64;
const ROUNDS: usize = 5;
/// How long the provider takes for an answer.
const PROVIDER: Duration = Duration::from_secs(5);
const CALLBACK: &str = "/callback";

/// Measures what is wanted of this subject.
pub(super) fn rows(report: &mut Report) -> Result<(), Error> {
    if !report.wants("factor.waiting") {
        return Ok(());
    }
    let runtime = tokio::runtime::Runtime::new()?;
    let (alone, among) = runtime.block_on(measure())?;
    report.add("factor.waiting_none", micros(alone), "µs", Target::Lower);
    report.add("factor.waiting_1000", micros(among), "µs", Target::Lower);
    report.add(
        "factor.waiting_1000_to_none",
        among.as_secs_f64() / alone.as_secs_f64(),
        "ratio",
        Target::AtMost(1.1),
    );
    Ok(())
}

/// What an admission takes while no one waits, and while a thousand do: in turn.
async fn measure() -> Result<(Duration, Duration), Error> {
    let provider = Provider::start().await?;
    let path = CALLBACK.to_owned();
    let settings = OidcProvider::dangerously_without_tls(&provider.issuer, "bench")?
        .redirect(Redirect::Loopback { path })?;
    let verifier = Arc::new(OidcVerifier::new([settings])?);
    let store = Arc::new(MemoryStore::new());
    let office = Office::<Totp>::open_beside(store, ADMISSIONS, vec![verifier]).await?;
    let mut waiting = Vec::new();
    for number in ADMISSIONS..ADMISSIONS + WAITING {
        let subject = number.to_string();
        let identity = Identity::subject(&provider.issuer, &subject);
        let device = office
            .hire(number, async |registrar, user, _| {
                registrar
                    .bind_identity(user, &Label::from_stored("account"), &identity)
                    .await?;
                Ok(())
            })
            .await?;
        waiting.push(device);
    }
    let (mut alone, mut among) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        office.next_day().await?;
        alone.extend(admissions(&office).await?);
        office.next_day().await?;
        let answers = answers(&office, &waiting, &provider).await?;
        let (asked, answered) = (provider.asked(), provider.answered());
        let begun = now();
        let mut all = JoinSet::new();
        for body in answers {
            let gate = office.gate.clone();
            all.spawn(async move { gate.handle(body, None).await });
        }
        while provider.asked() < asked + waiting.len() {
            if begun.elapsed() > PROVIDER {
                return Err("so many do not wait at once here".into());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        among.extend(admissions(&office).await?);
        if provider.answered() != answered {
            return Err("the provider answered before all was measured".into());
        }
        for outcome in all.join_all().await {
            outcome?;
        }
    }
    office.gate.shutdown().await;
    Ok((Samples::of(alone).median(), Samples::of(among).median()))
}

/// Admits every device once, one after the other: what the gate takes for each.
async fn admissions(office: &Office<Totp>) -> Result<Vec<Duration>, Error> {
    let key = office.gate.public_key();
    let mut spans = Vec::new();
    for device in &office.devices {
        let mut begun = device.begin(&key)?;
        let hello = std::mem::take(&mut begun.body);
        let (greeting, challenge) = time_async(office.gate.handle(hello, None)).await;
        let mut answered = begun.asked(&challenge?)?.answer(device.code()?)?;
        let answer = std::mem::take(&mut answered.body);
        let (granting, grant) = time_async(office.gate.handle(answer, None)).await;
        answered.admitted(&grant?)?;
        spans.push(greeting + granting);
    }
    Ok(spans)
}

/// What those whose browsers have come back are about to send.
async fn answers(
    office: &Office<Totp>,
    devices: &[Device<()>],
    provider: &Provider,
) -> Result<Vec<Vec<u8>>, Error> {
    let key = office.gate.public_key();
    let mut bodies = Vec::new();
    for device in devices {
        let mut begun = device.begin(&key)?;
        let hello = std::mem::take(&mut begun.body);
        let asked = begun.asked(&office.gate.handle(hello, None).await?)?;
        let Challenge::OpenId {
            authorize: Some(url),
            ..
        } = &asked.challenge
        else {
            return Err(format!("instead of a login: {:?}", asked.challenge).into());
        };
        let url = url::Url::parse(url)?;
        let mut parameters = url.query_pairs();
        let state = parameters.find(|(name, _)| name == "state");
        let (_, state) = state.ok_or("no state")?;
        let query = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("code", "a code")
            .append_pair("state", &state)
            .append_pair("iss", &provider.issuer)
            .finish();
        let answer = Answer::Redirected {
            redirect_uri: format!("http://127.0.0.1:1{CALLBACK}"),
            query: SecretString::new(query).ok_or("too long")?,
        };
        bodies.push(asked.answer(answer)?.body);
    }
    Ok(bodies)
}

/// A provider that takes its time, and then knows of no code.
struct Provider {
    issuer: String,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    asked: AtomicUsize,
    answered: AtomicUsize,
}

impl Provider {
    async fn start() -> Result<Self, Error> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let issuer = format!("http://{}", listener.local_addr()?);
        let counts = Arc::new(Counts::default());
        let metadata = json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{issuer}/authorize"),
            "token_endpoint": format!("{issuer}/token"),
            "jwks_uri": format!("{issuer}/jwks"),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
            "authorization_response_iss_parameter_supported": true,
        });
        let routes = Router::new()
            .route(
                "/.well-known/openid-configuration",
                get(async move || Json(metadata)),
            )
            .route("/jwks", get(async || Json(json!({ "keys": [] }))))
            .route("/token", post(token))
            .with_state(Arc::clone(&counts));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Ok(Self { issuer, counts })
    }

    fn asked(&self) -> usize {
        self.counts.asked.load(Ordering::Relaxed)
    }

    fn answered(&self) -> usize {
        self.counts.answered.load(Ordering::Relaxed)
    }
}

async fn token(State(counts): State<Arc<Counts>>) -> (StatusCode, Json<Value>) {
    counts.asked.fetch_add(1, Ordering::Relaxed);
    tokio::time::sleep(PROVIDER).await;
    counts.answered.fetch_add(1, Ordering::Relaxed);
    let refused = Json(json!({ "error": "invalid_grant" }));
    (StatusCode::BAD_REQUEST, refused)
}
