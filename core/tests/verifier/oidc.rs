//! The verifier of logins at an OpenID provider, through the suite: by a browser, and by a
//! workload's token.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use mfagate::channel::message::{Answer, Challenge, Redirect, SecretString};
use mfagate::factor::oidc::{Identity, OidcProvider, OidcVerifier};
use mfagate::factor::{Context, MfaVerifier};
use mfagate::seal::SecretBytes;
use mfagate::testing::verifier::{VerifierHarness, conformance};

#[path = "../support/oidc_provider.rs"]
#[expect(dead_code, reason = "the verifier's own tests need more of it")]
#[expect(clippy::unwrap_used, reason = "a provider stops at the first surprise")]
mod oidc_provider;

use oidc_provider::{CLIENT, HostileProvider};

/// When the suite plays, in seconds.
const NOW: u64 = 1_800_000_000;
const BACK: &str = "http://127.0.0.1:49152/callback";

/// People or programs at one provider.
struct Accounts {
    provider: HostileProvider,
    verifier: Arc<OidcVerifier>,
    are_workloads: bool,
    made: AtomicU32,
}

impl Accounts {
    async fn open(are_workloads: bool) -> Self {
        let provider = HostileProvider::start(NOW).await;
        // The suite asks twice about one answer, which a code's exchange would not stand.
        provider.acts().codes_stay_good = true;
        let redirect = Redirect::Loopback {
            path: "/callback".to_owned(),
        };
        let config = OidcProvider::dangerously_without_tls(&provider.issuer(), CLIENT)
            .and_then(|config| config.redirect(redirect))
            .expect("a provider")
            .workloads();
        Self {
            verifier: Arc::new(OidcVerifier::new([config]).expect("a verifier")),
            provider,
            are_workloads,
            made: AtomicU32::new(0),
        }
    }
}

#[async_trait]
impl VerifierHarness for Accounts {
    /// A subject.
    type Authenticator = String;

    fn verifier(&self) -> Arc<dyn MfaVerifier> {
        let verifier: Arc<OidcVerifier> = Arc::clone(&self.verifier);
        verifier
    }

    fn shown(&self) -> String {
        format!("{:?}", self.verifier)
    }

    async fn enrol(&self) -> (String, SecretBytes) {
        let subject = format!("subject-{}", self.made.fetch_add(1, Ordering::Relaxed));
        let issuer = self.provider.issuer();
        let identity = if self.are_workloads {
            Identity::workload(&issuer, &subject)
        } else {
            Identity::subject(&issuer, &subject)
        };
        (subject, identity.to_secret())
    }

    async fn answer(&self, subject: &String, _: &Context<'_>, challenge: &Challenge) -> Answer {
        let Challenge::OpenId {
            authorize,
            workload,
            ..
        } = challenge
        else {
            panic!("an account is asked to log in: {challenge:?}")
        };
        if let Some(wanted) = workload {
            let token = {
                self.provider.acts().claims = serde_json::json!({ "sub": subject });
                self.provider
                    .workload_token(&wanted.audience, Some(&wanted.nonce))
            };
            let token = SecretString::new(token).expect("not too long");
            return Answer::IdToken { token };
        }
        let url = authorize.as_ref().expect("a browser is offered");
        let mut url = url::Url::parse(url).expect("an address");
        url.query_pairs_mut().append_pair("redirect_uri", BACK);
        let query = self.provider.browse_as(subject, url.as_str()).await;
        redirected(&query)
    }

    fn tampered(&self, right: &Answer) -> Vec<Answer> {
        if let Answer::IdToken { token } = right {
            let text = token.expose_secret();
            return (0..text.len() - 1)
                .step_by(41)
                .map(|at| with_another(text, at))
                .map(|text| Answer::IdToken {
                    token: SecretString::new(text).expect("not too long"),
                })
                .collect();
        }
        let Answer::Redirected { query, .. } = right else {
            panic!("an account answers by a redirect or a token")
        };
        let text = query.expose_secret();
        ["code=", "state=", "iss="]
            .into_iter()
            .filter_map(|name| text.find(name).map(|at| at + name.len()))
            .map(|at| redirected(&with_another(text, at)))
            .collect()
    }

    fn unfit(&self, _: &Challenge) -> Vec<Answer> {
        let code = "123456".parse().expect("digits");
        vec![Answer::Code { code }, Answer::Poll {}, redirected("")]
    }

    fn private(&self, _: &String, right: &Answer) -> Vec<Vec<u8>> {
        if let Answer::IdToken { token } = right {
            return vec![token.expose_secret().as_bytes().to_vec()];
        }
        let Answer::Redirected { query, .. } = right else {
            return Vec::new();
        };
        vec![query.expose_secret().as_bytes().to_vec()]
    }

    fn is_bound(&self) -> bool {
        true
    }

    fn too_late_after(&self) -> Option<Duration> {
        Some(Duration::from_secs(300))
    }
}

fn redirected(query: &str) -> Answer {
    Answer::Redirected {
        redirect_uri: BACK.to_owned(),
        query: SecretString::new(query.to_owned()).expect("not too long"),
    }
}

/// A text with another character in that place. The last characters of a token's parts may have
/// bits that stand for nothing; those at the places that are tried have none.
fn with_another(text: &str, at: usize) -> String {
    let other = if text[at..].starts_with('A') {
        "B"
    } else {
        "A"
    };
    let mut text = text.to_owned();
    text.replace_range(at..=at, other);
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn the_verifier_of_logins_in_a_browser_conforms() {
    conformance(&Accounts::open(false).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_verifier_of_workloads_conforms() {
    conformance(&Accounts::open(true).await).await;
}
