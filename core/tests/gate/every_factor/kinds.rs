//! The table, filled in for each kind of factor.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use mfagate::assurance::FactorKind;
use mfagate::channel::message::{
    Answer, Challenge, Code, DeniedReason, Redirect, SecretString, Workload,
};
use mfagate::factor::device_key::DeviceKeyVerifier;
use mfagate::factor::email_code::{CodeSender, EmailAddress, EmailCodeVerifier, Letter, SendError};
use mfagate::factor::oidc::{Identity, OidcProvider, OidcVerifier};
use mfagate::factor::password::PasswordVerifier;
use mfagate::factor::recovery_codes::RecoveryCodeVerifier;
use mfagate::factor::totp::TotpSecret;
use mfagate::factor::webauthn::{RelyingParty, WebAuthnVerifier};
use mfagate::gate::GateConfig;
use mfagate::id::UserId;
use mfagate::prove::device_key::{DeviceKeyProver, Signer, SoftwareSigner};
use mfagate::prove::oidc::{Login, TokenSource, TokenSourceError, bring_token};
use mfagate::prove::webauthn;
use mfagate::signature::Algorithm;
use mfagate::time::{Clock, SystemClock};
use serde_json::{Value, json};

use super::Worth::{Admits, Denied};
use super::{AnswerContext, FactorCase, Holder, check};
use crate::office::Office;
use crate::oidc::oidc_provider::{CLIENT, HostileProvider};
use crate::webauthn::passkey::SoftwareKey;

/// Where a browser comes back to; no one listens there.
const BACK: &str = "http://127.0.0.1:49152/callback";
const ORIGIN: &str = "https://gate.example.com";

struct Totp(Option<TotpSecret>);

#[async_trait]
impl Holder for Totp {
    async fn bind(&mut self, office: &Office, user: &UserId) -> bool {
        if *user == office.user {
            self.0 = Some(office.secret.clone()); // which every office has
            return true;
        }
        let begun = office
            .registrar
            .begin_totp(user, &"app".parse().unwrap(), "test")
            .await;
        let begun = begun.unwrap();
        let earlier = office.clock.now().timestamp - Duration::from_secs(30);
        let code = begun.secret.code(earlier).unwrap();
        let confirmed = office.registrar.confirm_totp(user, begun.factor, code);
        confirmed.await.unwrap();
        self.0 = Some(begun.secret.clone());
        true
    }

    async fn answer(&self, attempt: &AnswerContext<'_>) -> Answer {
        let code = self.0.as_ref().unwrap().code(attempt.now).unwrap();
        Answer::Code { code }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_time_passwords() {
    const TIME: &str =
        "a one-time password is bound to its time, and good once wherever it is given";
    let row = FactorCase::bound(
        FactorKind::TOTP,
        |_| (),
        [Box::new(Totp(None)), Box::new(Totp(None))],
    );
    check(FactorCase {
        again: Denied(DeniedReason::Replayed),
        other_attempt: Admits(TIME),
        other_peer: Admits(TIME),
        other_location: Admits(TIME),
        at_once: 1,
        ..row
    })
    .await;
}

struct DeviceKey(Arc<SoftwareSigner>);

#[async_trait]
impl Holder for DeviceKey {
    async fn answer(&self, attempt: &AnswerContext<'_>) -> Answer {
        let (gate, peer) = (attempt.device.profile.location_key, attempt.device.key());
        let prover = DeviceKeyProver::new(self.0.clone(), gate, peer);
        let mut challenge = attempt.question.challenge.clone();
        // Whichever key is asked for: a prover refuses to sign where another key is.
        if let Challenge::Signature { key_id, .. } = &mut challenge {
            *key_id = self.0.public_key().id();
        }
        prover
            .answer(&attempt.question.attempt, &challenge, attempt.now)
            .await
            .unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn device_keys() {
    for algorithm in [Algorithm::Es256, Algorithm::Ed25519] {
        let holders = [(); 2].map(|()| -> Box<dyn Holder> {
            let signer = SoftwareSigner::generate(algorithm).unwrap();
            Box::new(DeviceKey(Arc::new(signer)))
        });
        let with = |config: &mut GateConfig| {
            config.verifiers.push(Arc::new(DeviceKeyVerifier::new()));
        };
        check(FactorCase::bound(FactorKind::DEVICE_KEY, with, holders)).await;
    }
}

/// A key, and its credential once it is enrolled.
struct Passkey(SoftwareKey, Mutex<Value>);

#[async_trait]
impl Holder for Passkey {
    async fn answer(&self, attempt: &AnswerContext<'_>) -> Answer {
        let challenge = &attempt.question.challenge;
        if let Challenge::RegisterWebAuthn { options } = challenge {
            let created = self.0.create(options).await.unwrap();
            let credential: Value = serde_json::from_str(&created).unwrap();
            *self.1.lock().unwrap() = credential["id"].clone();
            return webauthn::created(created).unwrap();
        }
        let Challenge::WebAuthn { options } = challenge else {
            panic!("{challenge:?}")
        };
        // Whichever key is asked for: a key says no more than that it does not know another's credential.
        let mut options: Value = serde_json::from_str(options).unwrap();
        let own = json!([{ "type": "public-key", "id": *self.1.lock().unwrap() }]);
        options["publicKey"]["allowCredentials"] = own;
        let given = self.0.get(&options.to_string()).await.unwrap();
        webauthn::asserted(given).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn passkeys() {
    let holders = [(); 2].map(|()| -> Box<dyn Holder> {
        Box::new(Passkey(SoftwareKey::at(ORIGIN), Mutex::default()))
    });
    let with = |config: &mut GateConfig| {
        let party = RelyingParty::new("gate.example.com").unwrap();
        let verifier = WebAuthnVerifier::new(party).unwrap();
        config.verifiers.push(Arc::new(verifier));
    };
    check(FactorCase::bound(FactorKind::WEBAUTHN, with, holders)).await;
}

/// Someone, or something, that a provider knows by this subject.
struct Account {
    provider: Arc<HostileProvider>,
    subject: &'static str,
    is_workload: bool,
}

impl Account {
    fn two_at(provider: &Arc<HostileProvider>, is_workload: bool) -> [Box<dyn Holder>; 2] {
        ["alice-at-provider", "bob-at-provider"].map(|subject| -> Box<dyn Holder> {
            let provider = Arc::clone(provider);
            Box::new(Self {
                provider,
                subject,
                is_workload,
            })
        })
    }
}

#[async_trait]
impl TokenSource for Account {
    async fn token(&self, wanted: &Workload) -> Result<SecretString, TokenSourceError> {
        let mut acts = self.provider.acts();
        acts.lies = json!({ "sub": self.subject });
        drop(acts);
        let token = self
            .provider
            .workload_token(&wanted.audience, Some(&wanted.nonce));
        self.provider.acts().lies = json!({});
        SecretString::new(token).ok_or_else(|| "too long".into())
    }
}

#[async_trait]
impl Holder for Account {
    async fn bind(&mut self, office: &Office, user: &UserId) -> bool {
        let issuer = self.provider.issuer();
        let identity = if self.is_workload {
            Identity::workload(&issuer, self.subject)
        } else {
            Identity::subject(&issuer, self.subject)
        };
        let label = "work".parse().unwrap();
        let bound = office.registrar.bind_identity(user, &label, &identity);
        bound.await.unwrap();
        true
    }

    async fn answer(&self, attempt: &AnswerContext<'_>) -> Answer {
        self.provider.acts().now = attempt.now.as_secs();
        let challenge = &attempt.question.challenge;
        if self.is_workload {
            return bring_token(challenge, self).await.unwrap();
        }
        let login = Login::begin(challenge, BACK).unwrap();
        let query = self.provider.browse_as(self.subject, login.url()).await;
        login.returned(&format!("{BACK}?{query}")).unwrap()
    }
}

async fn provider() -> Arc<HostileProvider> {
    let now = SystemClock::new().now().timestamp.as_secs();
    Arc::new(HostileProvider::start(now).await)
}

fn with_provider(provider: &HostileProvider) -> impl Fn(&mut GateConfig) + Send + Sync + 'static {
    let issuer = provider.issuer();
    move |config| {
        let redirect = Redirect::Loopback {
            path: "/callback".to_owned(),
        };
        let provider = OidcProvider::dangerously_without_tls(&issuer, CLIENT).unwrap();
        let provider = provider.redirect(redirect).unwrap().workloads();
        let verifier = OidcVerifier::new([provider]).unwrap();
        config.verifiers.push(Arc::new(verifier));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_at_a_provider() {
    let provider = provider().await;
    let holders = Account::two_at(&provider, false);
    check(FactorCase::bound(
        FactorKind::OIDC,
        with_provider(&provider),
        holders,
    ))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_workloads() {
    let provider = provider().await;
    let holders = Account::two_at(&provider, true);
    check(FactorCase::bound(
        FactorKind::OIDC,
        with_provider(&provider),
        holders,
    ))
    .await;
}

/// The last code in each mailbox; that letters reach one over SMTP is shown elsewhere.
#[derive(Default)]
struct Mailboxes(Mutex<BTreeMap<String, Code>>);

#[async_trait]
impl CodeSender for Mailboxes {
    async fn send(&self, letter: &Letter<'_>) -> Result<(), SendError> {
        let mut mailboxes = self.0.lock().unwrap();
        mailboxes.insert(letter.to.expose().to_owned(), letter.code.clone());
        Ok(())
    }
}

struct Reader {
    mailboxes: Arc<Mailboxes>,
    address: &'static str,
}

#[async_trait]
impl Holder for Reader {
    async fn bind(&mut self, office: &Office, user: &UserId) -> bool {
        let address: EmailAddress = self.address.parse().unwrap();
        let (kind, secret) = (FactorKind::EMAIL_CODE, address.to_secret());
        let label = "mail".parse().unwrap();
        let added = office
            .registrar
            .add_factor(user, kind, &label, &secret, None);
        added.await.unwrap();
        true
    }

    async fn answer(&self, _: &AnswerContext<'_>) -> Answer {
        let code = self.mailboxes.0.lock().unwrap()[self.address].clone();
        Answer::Code { code }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_by_e_mail() {
    let mailboxes = Arc::new(Mailboxes::default());
    let holders = ["alice@example.com", "bob@example.com"].map(|address| -> Box<dyn Holder> {
        let mailboxes = Arc::clone(&mailboxes);
        Box::new(Reader { mailboxes, address })
    });
    let with = move |config: &mut GateConfig| {
        let verifier = EmailCodeVerifier::new(mailboxes.clone()).unwrap();
        config.verifiers.push(Arc::new(verifier));
    };
    check(FactorCase::bound(FactorKind::EMAIL_CODE, with, holders)).await;
}

/// Codes on paper, of which so many are crossed out.
#[derive(Default)]
struct Paper(Mutex<Vec<SecretString>>, AtomicUsize);

#[async_trait]
impl Holder for Paper {
    async fn answer(&self, attempt: &AnswerContext<'_>) -> Answer {
        if let Challenge::KeepRecoveryCodes { codes } = &attempt.question.challenge {
            self.0.lock().unwrap().clone_from(codes);
        }
        let spent = usize::from(attempt.is_spent);
        let next = self.1.fetch_add(spent, Ordering::Relaxed);
        let code = self.0.lock().unwrap()[next].clone();
        Answer::RecoveryCode { code }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn recovery_codes() {
    const ONCE: &str = "a recovery code is good once, whenever and wherever it is given";
    let holders = [(); 2].map(|()| -> Box<dyn Holder> { Box::new(Paper::default()) });
    let with = |config: &mut GateConfig| {
        config.verifiers.push(Arc::new(RecoveryCodeVerifier::new()));
    };
    let row = FactorCase::bound(FactorKind::RECOVERY_CODES, with, holders);
    check(FactorCase {
        again: Denied(DeniedReason::Replayed),
        other_attempt: Admits(ONCE),
        other_peer: Admits(ONCE),
        other_location: Admits(ONCE),
        late: Admits(ONCE),
        at_once: 1,
        ..row
    })
    .await;
}

struct Memory(&'static str);

#[async_trait]
impl Holder for Memory {
    async fn answer(&self, _: &AnswerContext<'_>) -> Answer {
        let password = SecretString::new(self.0.to_owned()).unwrap();
        Answer::Password { password }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords() {
    const SAME: &str =
        "a password is the same each time; AAL2 wants something that you have beside it";
    let of = [
        "correct horse battery staple",
        "wrong donkey battery staple",
    ];
    let holders = of.map(|of| -> Box<dyn Holder> { Box::new(Memory(of)) });
    let with = |config: &mut GateConfig| {
        config.verifiers.push(Arc::new(PasswordVerifier::new()));
    };
    let row = FactorCase::bound(FactorKind::PASSWORD, with, holders);
    check(FactorCase {
        again: Admits(SAME),
        other_attempt: Admits(SAME),
        other_peer: Admits(SAME),
        other_location: Admits(SAME),
        late: Admits(SAME),
        at_once: 2,
        ..row
    })
    .await;
}
