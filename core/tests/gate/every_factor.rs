//! Every kind of factor at a real gate, by one table: what a right answer is worth, and what it is
//! worth again, elsewhere, late, with a bit changed, or from another user.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use data_encoding::BASE64;
use mfagate::assurance::FactorKind;
use mfagate::audit::{AuditKind, AuditRecord};
use mfagate::channel::message::{
    Answer, Challenge, Code, DeniedReason, Hidden, Redirect, Workload,
};
use mfagate::client::{Question, Response};
use mfagate::factor::device_key::DeviceKeyVerifier;
use mfagate::factor::email_code::{CodeSender, EmailAddress, EmailCodeVerifier, Letter, SendError};
use mfagate::factor::oidc::{Identity, OidcProvider, OidcVerifier};
use mfagate::factor::password::PasswordVerifier;
use mfagate::factor::recovery_codes::RecoveryCodeVerifier;
use mfagate::factor::totp::TotpSecret;
use mfagate::factor::webauthn::{RelyingParty, WebAuthnVerifier};
use mfagate::gate::Scope;
use mfagate::id::{FactorId, UserId};
use mfagate::policy::Step;
use mfagate::prove::device_key::{DeviceKeyProver, Signer, SoftwareSigner};
use mfagate::prove::oidc::{Login, TokenSource, TokenSourceError, bring_token};
use mfagate::prove::webauthn;
use mfagate::runtime::{GateConfig, Prompt, SystemClock};
use mfagate::signature::Algorithm;
use mfagate::store::FailureReason;
use mfagate::time::{Clock, Timestamp};
use serde_json::{Value, json};

use super::office::{Branch, Device, Office};
use super::oidc::oidc_provider::{CLIENT, HostileProvider};
use super::webauthn::passkey::{SoftwareKey, with_a_bit_changed};

/// Where a browser comes back to; nobody listens there.
const BACK: &str = "http://127.0.0.1:49152/callback";
const ORIGIN: &str = "https://gate.example.com";
/// What the default policy leaves before a wait.
const FREE: usize = 5;

/// Who is asked, where and when.
struct Scene<'a> {
    device: &'a Device,
    question: &'a Question,
    now: Timestamp,
    /// Whether the answer is to be accepted somewhere.
    is_spent: bool,
}

/// A user's factor, in the hands of its user.
#[async_trait]
trait Holder: Send + Sync {
    /// Has an administrator enrol it, where it is not enrolled from the device; whether that was
    /// done.
    async fn bind(&mut self, _: &Office, _: &UserId) -> bool {
        false
    }

    /// The right answer, also to what is asked while it is enrolled.
    async fn answer(&self, scene: &Scene<'_>) -> Answer;
}

/// What becomes of an answer.
#[derive(Clone, Copy)]
enum Worth {
    /// It is refused for that reason, counted and recorded.
    Denied(DeniedReason),
    /// It admits, and why that is as it should be.
    Admits(#[expect(dead_code, reason = "for who reads the table")] &'static str),
}

use Worth::{Admits, Denied};

/// Nothing but the very answer to that very question is worth anything.
const BOUND: Worth = Denied(DeniedReason::Wrong);

/// A kind of factor.
struct Row {
    kind: FactorKind,
    configure: Configure,
    alice: Box<dyn Holder>,
    bob: Box<dyn Holder>,
    again: Worth,
    other_attempt: Worth,
    other_peer: Worth,
    other_location: Worth,
    late: Worth,
    /// How many of two that give it at once get in.
    at_once: usize,
}

type Configure = Box<dyn Fn(&mut GateConfig) + Send + Sync>;

impl Row {
    /// One whose answers are to one question of one attempt.
    fn bound(
        kind: FactorKind,
        configure: impl Fn(&mut GateConfig) + Send + Sync + 'static,
        [alice, bob]: [Box<dyn Holder>; 2],
    ) -> Self {
        Self {
            kind,
            configure: Box::new(configure),
            alice,
            bob,
            again: BOUND,
            other_attempt: BOUND,
            other_peer: BOUND,
            other_location: BOUND,
            late: BOUND,
            at_once: 0,
        }
    }
}

/// What is done with a right answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Again,
    OtherAttempt,
    OtherPeer,
    OtherLocation,
    Late,
    Altered,
    OtherUsers,
}

/// Gives what it is told to, once, and then gives up.
struct Given {
    answer: Option<Answer>,
    reasons: Vec<DeniedReason>,
}

impl Given {
    fn just(answer: &Answer) -> Self {
        Self {
            answer: Some(answer.clone()),
            reasons: Vec::new(),
        }
    }
}

#[async_trait]
impl Prompt for Given {
    async fn answer(&mut self, question: &Question) -> Option<Response> {
        let denied = question.denied.as_ref();
        self.reasons.extend(denied.map(|denied| denied.reason));
        self.answer.take().map(Answer::into)
    }
}

/// Answers by a holder: rightly, or with a bit changed; and gives that, or keeps it.
struct Held<'a> {
    holder: &'a dyn Holder,
    device: &'a Device,
    now: Timestamp,
    gives: bool,
    alters: bool,
    is_spent: bool,
    made: Option<Answer>,
    reasons: Vec<DeniedReason>,
}

#[async_trait]
impl Prompt for Held<'_> {
    async fn answer(&mut self, question: &Question) -> Option<Response> {
        let denied = question.denied.as_ref();
        self.reasons.extend(denied.map(|denied| denied.reason));
        if self.made.is_some() {
            return None;
        }
        let scene = Scene {
            device: self.device,
            question,
            now: self.now,
            is_spent: self.is_spent && !self.alters,
        };
        let right = self.holder.answer(&scene).await;
        let answer = if self.alters { altered(&right) } else { right };
        self.made = Some(answer.clone());
        self.gives.then(|| answer.into())
    }
}

impl<'a> Held<'a> {
    fn by(holder: &'a dyn Holder, device: &'a Device, office: &Office) -> Self {
        Self {
            holder,
            device,
            now: office.clock.now().timestamp,
            gives: true,
            alters: false,
            is_spent: true,
            made: None,
            reasons: Vec::new(),
        }
    }
}

/// The same answer but for a bit of what it proves.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "no holder of the table gives any other answer"
)]
fn altered(answer: &Answer) -> Answer {
    let hidden = |text: String| Hidden::new(text).unwrap();
    // In the alphabets at hand the neighbour is a letter or a digit of it too.
    let flipped = |text: &str, at: usize| {
        let other = match &text[at..=at] {
            "0" => "1",
            "A" => "B",
            "a" => "b",
            _ if text[at..].starts_with(|c: char| c.is_ascii_digit()) => "0",
            _ if text[at..].starts_with(|c: char| c.is_ascii_uppercase()) => "A",
            _ => "a",
        };
        format!("{}{other}{}", &text[..at], &text[at + 1..])
    };
    match answer {
        Answer::Code { code } => {
            let code = flipped(code.expose_secret(), 0).parse().unwrap();
            Answer::Code { code }
        }
        Answer::Signature { signature } => {
            let mut bytes = BASE64.decode(signature.as_bytes()).unwrap();
            bytes[9] ^= 1;
            let signature = BASE64.encode(&bytes);
            Answer::Signature { signature }
        }
        Answer::WebAuthn { credential } => {
            let credential = with_a_bit_changed(credential.expose_secret(), "signature", 70);
            let credential = hidden(credential);
            Answer::WebAuthn { credential }
        }
        Answer::Redirected {
            redirect_uri,
            query,
        } => {
            let query = query.expose_secret();
            let at = query.find("state=").unwrap() + "state=".len();
            Answer::Redirected {
                redirect_uri: redirect_uri.clone(),
                query: hidden(flipped(query, at)),
            }
        }
        Answer::IdToken { token } => {
            let token = token.expose_secret();
            let at = token.rfind('.').unwrap() + 1;
            let token = hidden(flipped(token, at));
            Answer::IdToken { token }
        }
        Answer::RecoveryCode { code } => {
            let code = hidden(flipped(code.expose_secret(), 0));
            Answer::RecoveryCode { code }
        }
        Answer::Password { password } => {
            let password = hidden(flipped(password.expose_secret(), 3));
            Answer::Password { password }
        }
        other => panic!("no answer of the table: {other:?}"),
    }
}

/// Two users with a factor of the kind each, one of them with two devices, one of which is known at
/// two locations.
struct Desk {
    office: Office,
    laptop: Device,
    phone: Device,
    bobs: Device,
    branch: Branch,
    at_the_branch: Device,
    factor: FactorId,
    row: Row,
}

impl Desk {
    async fn open(mut row: Row) -> Self {
        let configure = std::mem::replace(&mut row.configure, Box::new(|_| ()));
        let kind = row.kind.clone();
        let office = Office::open_configured(move |config| {
            configure(config);
            config.policy.steps = vec![Step::AnyOf(vec![kind.clone()])];
        })
        .await;
        let bob: UserId = "bob".parse().unwrap();
        office.registrar.put_user(&bob, true).await.unwrap();
        let (laptop, phone) = (
            office.device("10.9.0.2/32").await,
            office.device("10.9.0.3/32").await,
        );
        let bobs = office.device_of(&bob, "10.9.0.4/32").await;
        let users = [
            (&mut row.alice, &office.user, &laptop),
            (&mut row.bob, &bob, &bobs),
        ];
        for (holder, user, device) in users {
            if !holder.bind(&office, user).await {
                let factor = office.new_factor_of(user, row.kind.clone(), "theirs").await;
                let mut held = Held::by(&**holder, device, &office);
                device.client().enrol(factor, &mut held).await.unwrap();
            }
        }
        let factors = office.registrar.factors(&office.user).await.unwrap();
        let factor = factors.iter().rfind(|factor| factor.kind == row.kind);
        let factor = factor.expect("it is enrolled").id;
        let branch = office.branch().await;
        let at_the_branch = branch.device(&office, &laptop).await;
        Self {
            office,
            laptop,
            phone,
            bobs,
            branch,
            at_the_branch,
            factor,
            row,
        }
    }

    fn held<'a>(&'a self, holder: &'a dyn Holder) -> Held<'a> {
        Held::by(holder, &self.laptop, &self.office)
    }

    /// The right answer to a question that is then given up.
    async fn unused(&self, holder: &dyn Holder, device: &Device) -> Answer {
        let mut held = Held::by(holder, device, &self.office);
        held.gives = false;
        let given_up = device.client().connect(&mut held).await;
        assert!(given_up.is_err(), "{given_up:?}");
        held.made.expect("it was asked")
    }

    async fn failures(&self) -> u32 {
        let factors = self.office.registrar.factors(&self.office.user).await;
        let mut factors = factors.unwrap().into_iter();
        let factor = factors.find(|factor| factor.id == self.factor);
        factor.expect("it is there").failures.count
    }

    /// An hour later nobody is in, and nothing that was tried counts any more.
    async fn begin_anew(&self) -> usize {
        self.office.gate().revoke(Scope::All).await.unwrap();
        self.branch.gate.revoke(Scope::All).await.unwrap();
        self.office.clock.advance(Duration::from_secs(3660));
        let reset = self
            .office
            .registrar
            .reset_failures(&self.office.user, self.factor);
        reset.await.unwrap();
        self.office.audit().await.len()
    }

    async fn since(&self, mark: usize) -> Vec<AuditRecord> {
        self.office.audit().await.split_off(mark)
    }

    /// Does that with an answer: the reasons why it was denied.
    async fn give(&self, case: Case) -> (bool, Vec<DeniedReason>) {
        let alice = &*self.row.alice;
        if case == Case::Altered {
            let mut held = self.held(alice);
            held.alters = true;
            let admitted = self.laptop.client().connect(&mut held).await;
            return (admitted.is_ok(), held.reasons);
        }
        if case == Case::OtherUsers {
            // So that he has one of his own.
            self.unused(&*self.row.bob, &self.bobs).await;
            let mut held = self.held(&*self.row.bob);
            let admitted = self.laptop.client().connect(&mut held).await;
            return (admitted.is_ok(), held.reasons);
        }
        let answer = if case == Case::Again {
            let (client, mut held) = (self.laptop.client(), self.held(alice));
            let admitted = client.connect(&mut held).await;
            admitted.unwrap_or_else(|error| panic!("{self:?}: {error}"));
            assert!(self.laptop.reach().await.is_ok(), "{self:?}");
            self.office.gate().revoke(Scope::All).await.unwrap();
            held.made.expect("it was asked")
        } else {
            self.unused(alice, &self.laptop).await
        };
        if case == Case::Late {
            self.office.clock.advance(Duration::from_secs(660));
        }
        let device = match case {
            Case::OtherPeer => &self.phone,
            Case::OtherLocation => &self.at_the_branch,
            Case::Again | Case::OtherAttempt | Case::Late | Case::Altered | Case::OtherUsers => {
                &self.laptop
            }
        };
        let mut given = Given::just(&answer);
        let admitted = device.client().connect(&mut given).await;
        (admitted.is_ok(), given.reasons)
    }

    async fn check(&self, case: Case, worth: Worth) {
        self.begin_anew().await;
        let mark = self.office.audit().await.len();
        let (is_admitted, reasons) = self.give(case).await;
        let place = format!("{self:?}, {case:?}");
        let Denied(reason) = worth else {
            assert!(is_admitted && reasons.is_empty(), "{place}: {reasons:?}");
            return;
        };
        assert!(!is_admitted, "{place}");
        assert_eq!(reasons, [reason], "{place}");
        assert_eq!(self.failures().await, 1, "{place}: it is counted");
        let said = self.since(mark).await;
        let denied: Vec<_> = said
            .iter()
            .filter_map(|record| {
                if let AuditKind::Denied { reason } = record.event.kind {
                    Some((reason, record.event.factor))
                } else {
                    None
                }
            })
            .collect();
        let reason = if reason == DeniedReason::Replayed {
            FailureReason::Replayed
        } else {
            FailureReason::Wrong
        };
        assert_eq!(denied, [(reason, Some(self.factor))], "{place}");
        assert!(self.office.installed().await.is_empty(), "{place}");
        assert!(self.office.gate().sessions().is_empty(), "{place}");
        assert!(self.branch.gate.sessions().is_empty(), "{place}");
    }

    /// New attempts reset nothing: after so many wrong answers none is looked at, be it right.
    async fn check_loop(&self) {
        let mark = self.begin_anew().await;
        let alice = &*self.row.alice;
        for turn in 0..FREE + 2 {
            let mut held = self.held(alice);
            held.alters = turn <= FREE;
            held.is_spent = false;
            let admitted = self.laptop.client().connect(&mut held).await;
            assert!(admitted.is_err(), "{self:?}, turn {turn}");
            let expected = if turn < FREE {
                DeniedReason::Wrong
            } else {
                DeniedReason::Locked
            };
            assert_eq!(held.reasons, [expected], "{self:?}, turn {turn}");
        }
        let free = u32::try_from(FREE).unwrap();
        assert_eq!(self.failures().await, free, "{self:?}");
        let said = self.since(mark).await;
        let locked = said
            .iter()
            .filter(|it| it.event.kind == AuditKind::LockedOut);
        assert_eq!(locked.count(), 2, "{self:?}");
        assert!(self.office.installed().await.is_empty(), "{self:?}");
    }

    /// Two devices of one user give one answer at the same time.
    async fn check_at_once(&self) {
        self.begin_anew().await;
        let answer = self.unused(&*self.row.alice, &self.laptop).await;
        let clients = [self.laptop.client(), self.phone.client()];
        let (mut one, mut two) = (Given::just(&answer), Given::just(&answer));
        let (one, two) = tokio::join!(clients[0].connect(&mut one), clients[1].connect(&mut two));
        let admitted = usize::from(one.is_ok()) + usize::from(two.is_ok());
        assert_eq!(admitted, self.row.at_once, "{self:?}: {one:?} {two:?}");
        assert_eq!(self.office.gate().sessions().len(), admitted, "{self:?}");
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row.kind.as_str())
    }
}

async fn check(row: Row) {
    let desk = Desk::open(row).await;
    let row = &desk.row;
    for (case, worth) in [
        (Case::Again, row.again),
        (Case::OtherAttempt, row.other_attempt),
        (Case::OtherPeer, row.other_peer),
        (Case::OtherLocation, row.other_location),
        (Case::Late, row.late),
        (Case::Altered, BOUND),
        (Case::OtherUsers, BOUND),
    ] {
        desk.check(case, worth).await;
    }
    desk.check_loop().await;
    desk.check_at_once().await;
    desk.office.verify_audit().await;
}

struct Totp(Option<TotpSecret>);

#[async_trait]
impl Holder for Totp {
    async fn bind(&mut self, office: &Office, user: &UserId) -> bool {
        if *user == office.user {
            self.0 = Some(office.secret.clone()); // which every office has
            return true;
        }
        let begun = office.registrar.begin_totp(user, "app", "test").await;
        let begun = begun.unwrap();
        let earlier = office.clock.now().timestamp - Duration::from_secs(30);
        let code = begun.secret.code(earlier).unwrap();
        let confirmed = office.registrar.confirm_totp(user, begun.factor, code);
        confirmed.await.unwrap();
        self.0 = Some(begun.secret.clone());
        true
    }

    async fn answer(&self, scene: &Scene<'_>) -> Answer {
        let code = self.0.as_ref().unwrap().code(scene.now).unwrap();
        Answer::Code { code }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_time_passwords() {
    const TIME: &str =
        "a one-time password is bound to its time, and good once wherever it is given";
    let row = Row::bound(
        FactorKind::TOTP,
        |_| (),
        [Box::new(Totp(None)), Box::new(Totp(None))],
    );
    check(Row {
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
    async fn answer(&self, scene: &Scene<'_>) -> Answer {
        let (gate, peer) = (scene.device.profile.location_key, scene.device.key());
        let prover = DeviceKeyProver::new(self.0.clone(), gate, peer);
        let mut challenge = scene.question.challenge.clone();
        // Whoever is asked: a prover refuses to sign where another key is.
        if let Challenge::Signature { key_id, .. } = &mut challenge {
            *key_id = self.0.public_key().id();
        }
        let attempt = &scene.question.attempt;
        prover.answer(attempt, &challenge, scene.now).await.unwrap()
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
        check(Row::bound(FactorKind::DEVICE_KEY, with, holders)).await;
    }
}

/// A key, and its credential once it is enrolled.
struct Passkey(SoftwareKey, Mutex<Value>);

#[async_trait]
impl Holder for Passkey {
    async fn answer(&self, scene: &Scene<'_>) -> Answer {
        let challenge = &scene.question.challenge;
        if let Challenge::RegisterWebAuthn { options } = challenge {
            let created = self.0.create(options).await.unwrap();
            let credential: Value = serde_json::from_str(&created).unwrap();
            *self.1.lock().unwrap() = credential["id"].clone();
            return webauthn::created(created).unwrap();
        }
        let Challenge::WebAuthn { options } = challenge else {
            panic!("{challenge:?}")
        };
        // Whoever is asked: a key says no more than that it does not know another's credential.
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
    check(Row::bound(FactorKind::WEBAUTHN, with, holders)).await;
}

/// Somebody, or something, that a provider knows by this subject.
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
    async fn token(&self, wanted: &Workload) -> Result<Hidden, TokenSourceError> {
        let mut acts = self.provider.acts();
        acts.lies = json!({ "sub": self.subject });
        drop(acts);
        let token = self
            .provider
            .workload_token(&wanted.audience, Some(&wanted.nonce));
        self.provider.acts().lies = json!({});
        Hidden::new(token).ok_or_else(|| "too long".into())
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
        let bound = office.registrar.bind_identity(user, "work", &identity);
        bound.await.unwrap();
        true
    }

    async fn answer(&self, scene: &Scene<'_>) -> Answer {
        self.provider.acts().now = scene.now.as_secs();
        let challenge = &scene.question.challenge;
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
    check(Row::bound(
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
    check(Row::bound(
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
        let added = office
            .registrar
            .add_factor(user, kind, "mail", &secret, None);
        added.await.unwrap();
        true
    }

    async fn answer(&self, _: &Scene<'_>) -> Answer {
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
    check(Row::bound(FactorKind::EMAIL_CODE, with, holders)).await;
}

/// Codes on paper, of which so many are crossed out.
#[derive(Default)]
struct Paper(Mutex<Vec<Hidden>>, AtomicUsize);

#[async_trait]
impl Holder for Paper {
    async fn answer(&self, scene: &Scene<'_>) -> Answer {
        if let Challenge::KeepRecoveryCodes { codes } = &scene.question.challenge {
            self.0.lock().unwrap().clone_from(codes);
        }
        let spent = usize::from(scene.is_spent);
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
    let row = Row::bound(FactorKind::RECOVERY_CODES, with, holders);
    check(Row {
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
    async fn answer(&self, _: &Scene<'_>) -> Answer {
        let password = Hidden::new(self.0.to_owned()).unwrap();
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
    let row = Row::bound(FactorKind::PASSWORD, with, holders);
    check(Row {
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
