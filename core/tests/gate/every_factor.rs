//! Every kind of factor at a real gate, by one table: what a right answer is worth, and what it is
//! worth again, elsewhere, late, with a bit changed, or from another user.

mod kinds;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use data_encoding::BASE64;
use mfagate::assurance::FactorKind;
use mfagate::audit::{AuditKind, AuditRecord, FailureReason};
use mfagate::channel::message::{Answer, DeniedReason, SecretString};
use mfagate::client::{AuthChallenge, Prompt, PromptFailed, Response};
use mfagate::gate::{GateConfig, Scope};
use mfagate::id::{FactorId, UserId};
use mfagate::policy::Step;
use mfagate::time::{Clock, Timestamp};

use super::office::{Branch, Device, Office};
use super::webauthn::passkey::with_a_bit_changed;

/// What the default policy leaves before a wait.
const FREE: usize = 5;

/// Who is asked, where and when.
struct AnswerContext<'a> {
    device: &'a Device,
    question: &'a AuthChallenge,
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
    async fn answer(&self, attempt: &AnswerContext<'_>) -> Answer;
}

/// What becomes of an answer.
#[derive(Clone, Copy)]
enum Worth {
    /// It is refused for that reason, counted and recorded.
    Denied(DeniedReason),
    /// It admits, and why that is as it should be.
    Admits(#[expect(dead_code, reason = "for who reads the table")] &'static str),
}

use Worth::Denied;

/// Nothing but the very answer to that very question is worth anything.
const BOUND: Worth = Denied(DeniedReason::Wrong);

/// A kind of factor.
struct FactorCase {
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

impl FactorCase {
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
    async fn answer(&mut self, question: &AuthChallenge) -> Result<Option<Response>, PromptFailed> {
        let denied = question.denied.as_ref();
        self.reasons.extend(denied.map(|denied| denied.reason));
        Ok(self.answer.take().map(Answer::into))
    }
}

/// Answers by a holder: rightly, or with a bit changed; and gives that, or keeps it.
struct HeldAnswer<'a> {
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
impl Prompt for HeldAnswer<'_> {
    async fn answer(&mut self, question: &AuthChallenge) -> Result<Option<Response>, PromptFailed> {
        let denied = question.denied.as_ref();
        self.reasons.extend(denied.map(|denied| denied.reason));
        if self.made.is_some() {
            return Ok(None);
        }
        let attempt = AnswerContext {
            device: self.device,
            question,
            now: self.now,
            is_spent: self.is_spent && !self.alters,
        };
        let right = self.holder.answer(&attempt).await;
        let answer = if self.alters { altered(&right) } else { right };
        self.made = Some(answer.clone());
        Ok(self.gives.then(|| answer.into()))
    }
}

impl<'a> HeldAnswer<'a> {
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
    let hidden = |text: String| SecretString::new(text).unwrap();
    // In the alphabets used here the neighbour is a letter or a digit of it too.
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
struct Harness {
    office: Office,
    laptop: Device,
    phone: Device,
    bobs: Device,
    branch: Branch,
    at_the_branch: Device,
    factor: FactorId,
    row: FactorCase,
}

impl Harness {
    async fn open(mut row: FactorCase) -> Self {
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
                let mut held = HeldAnswer::by(&**holder, device, &office);
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

    fn held<'a>(&'a self, holder: &'a dyn Holder) -> HeldAnswer<'a> {
        HeldAnswer::by(holder, &self.laptop, &self.office)
    }

    /// The right answer to a question that is then given up.
    async fn unused(&self, holder: &dyn Holder, device: &Device) -> Answer {
        let mut held = HeldAnswer::by(holder, device, &self.office);
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

    /// An hour later no one is in, and nothing that was tried counts any more.
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

impl fmt::Debug for Harness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row.kind.as_str())
    }
}

async fn check(row: FactorCase) {
    let harness = Harness::open(row).await;
    let row = &harness.row;
    for (case, worth) in [
        (Case::Again, row.again),
        (Case::OtherAttempt, row.other_attempt),
        (Case::OtherPeer, row.other_peer),
        (Case::OtherLocation, row.other_location),
        (Case::Late, row.late),
        (Case::Altered, BOUND),
        (Case::OtherUsers, BOUND),
    ] {
        harness.check(case, worth).await;
    }
    harness.check_loop().await;
    harness.check_at_once().await;
    harness.office.verify_audit().await;
}
