//! Codes by e-mail: an address enrolled by a client with a token or by an administrator, and
//! signing in with the codes that a real mail server got.

use std::sync::mpsc::Receiver;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use mfagate::assurance::FactorKind;
use mfagate::channel::message::{Answer, Challenge, Code, Denied, DeniedReason, SecretString};
use mfagate::client::{AuthChallenge, Prompt, PromptFailed, Response};
use mfagate::factor::email_code::{EmailAddress, EmailCodeVerifier, SmtpSender};
use mfagate::gate::{GateConfig, Scope};
use mfagate::policy::Step;
use mfagate::testing::SecretWatch;
use tokio::sync::{Mutex, MutexGuard};

use crate::office::Office;

#[path = "../support/mail.rs"]
#[expect(dead_code, reason = "the sender's own tests need more of it")]
mod mail;

use mail::{MailServer, Security, silent_server};

const ADDRESS: &str = "alice@example.com";

/// One mail server for all tests of this file, of which one at a time reads its mail.
static MAIL: LazyLock<(u16, Mutex<MailServer>)> = LazyLock::new(|| {
    let server = MailServer::start(Security::None);
    (server.at.port(), Mutex::new(server))
});

async fn mail() -> MutexGuard<'static, MailServer> {
    MAIL.1.lock().await
}

fn with_codes(config: &mut GateConfig) {
    push_verifier(config, MAIL.0, Duration::from_secs(8));
    config.policy.steps = vec![Step::AnyOf(vec![FactorKind::EMAIL_CODE, FactorKind::TOTP])];
}

fn push_verifier(config: &mut GateConfig, port: u16, within: Duration) {
    let sender = SmtpSender::builder("127.0.0.1", "gate@example.com".parse().unwrap())
        .port(port)
        .danger_plaintext_to_loopback()
        .within(within);
    let verifier = EmailCodeVerifier::new(Arc::new(sender.build().unwrap()));
    config.verifiers.push(Arc::new(verifier.unwrap()));
}

/// What someone does about a question.
enum Does {
    /// Types the code of the next letter.
    ReadsMail,
    /// Types a code that is not the one.
    Mistypes,
    /// Wants another code.
    AsksAnew,
    /// Wants another factor.
    ChoosesAnother,
    /// Types an address.
    Gives(&'static str),
}

/// Someone with a mailbox, who does these things in this order and then gives up.
struct Reader<'m> {
    mail: &'m MailServer,
    does: Vec<Does>,
    shown: Vec<Challenge>,
    denied: Vec<Denied>,
    used: Vec<String>,
}

impl<'m> Reader<'m> {
    fn of(mail: &'m MailServer, does: impl IntoIterator<Item = Does>) -> Self {
        let mut does: Vec<_> = does.into_iter().collect();
        does.reverse();
        Self {
            mail,
            does,
            shown: Vec::new(),
            denied: Vec::new(),
            used: Vec::new(),
        }
    }

    fn reasons(&self) -> Vec<DeniedReason> {
        self.denied.iter().map(|denied| denied.reason).collect()
    }

    fn read(&mut self) -> Code {
        let letter = self.mail.letter();
        assert_eq!(letter.to(), ADDRESS);
        self.used.push(letter.code());
        letter.code().parse().unwrap()
    }
}

#[async_trait]
impl Prompt for Reader<'_> {
    async fn answer(&mut self, question: &AuthChallenge) -> Result<Option<Response>, PromptFailed> {
        self.shown.push(question.challenge.clone());
        self.denied.extend(question.denied.clone());
        let Some(does) = self.does.pop() else {
            return Ok(None);
        };
        let answer = match does {
            Does::ReadsMail => Answer::Code { code: self.read() },
            Does::Mistypes => {
                let letter = self.used.last().map_or("00000000", |code| &**code);
                let other = if letter.starts_with('7') { "8" } else { "7" };
                let code = other.repeat(8).parse().unwrap();
                Answer::Code { code }
            }
            Does::Gives(address) => Answer::Address {
                address: SecretString::new(address.to_owned()).unwrap(),
            },
            Does::ChoosesAnother => {
                return Ok(Some(Response::Choose(question.others[0].factor)));
            }
            Does::AsksAnew => {
                let factor = question.factor.as_ref().unwrap().factor;
                return Ok(Some(Response::Choose(factor)));
            }
        };
        Ok(Some(answer.into()))
    }
}

/// An office whose user has an address, by an administrator's word.
async fn office() -> Office {
    let office = Office::open_configured(with_codes).await;
    enrol(&office).await;
    office
}

async fn enrol(office: &Office) {
    let address: EmailAddress = ADDRESS.parse().unwrap();
    let (kind, secret) = (FactorKind::EMAIL_CODE, address.to_secret());
    let label = "mail".parse().unwrap();
    let added = office
        .registrar
        .add_factor(&office.user, kind, &label, &secret, None);
    added.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_enrols_signs_in_and_ends_with_its_removal() {
    let mail = mail().await;
    let office = Office::open_configured(with_codes).await;
    let laptop = office.device("10.9.0.2/32").await;
    let client = laptop.client();
    let does = [
        Does::Gives("nobody@example.com"),
        Does::Gives("alice at example.com"),
    ];
    let mut reader = Reader::of(&mail, does);
    let given_up = client
        .enrol(
            office.new_factor(FactorKind::EMAIL_CODE, "mail").await,
            &mut reader,
        )
        .await;
    assert!(given_up.is_err());
    assert_eq!(reader.reasons(), [DeniedReason::Unfit, DeniedReason::Unfit]);
    assert_eq!(
        reader.denied[1].tries_left, 4,
        "what does not fit costs none"
    );

    let does = [
        Does::Gives(ADDRESS),
        Does::Gives(ADDRESS), // too early for another code
        Does::Mistypes,
        Does::ReadsMail,
    ];
    let mut reader = Reader::of(&mail, does);
    let enrolled = client
        .enrol(
            office.new_factor(FactorKind::EMAIL_CODE, "mail").await,
            &mut reader,
        )
        .await;
    let factor = enrolled.unwrap();
    assert_eq!(reader.reasons(), [DeniedReason::Busy, DeniedReason::Wrong]);
    assert_eq!(reader.denied[1].tries_left, 3);
    assert!(laptop.reach().await.is_err(), "enrolled is not admitted");

    let mut reader = Reader::of(&mail, [Does::ReadsMail]);
    client.connect(&mut reader).await.unwrap();
    assert!(laptop.reach().await.is_ok());
    assert!(
        matches!(&*reader.shown, [Challenge::SentCode { sent_to, .. }] if sent_to == "a…@example.com"),
        "{:?}",
        reader.shown
    );

    let removed = office
        .registrar
        .danger_remove_last_factor(&office.user, factor);
    removed.await.unwrap();
    office.until(|gate| gate.sessions().is_empty()).await;
    office.verify_audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_was_used_admits_nobody_again() {
    let mail = mail().await;
    let office = office().await;
    let laptop = office.device("10.9.0.2/32").await;
    let mut reader = Reader::of(&mail, [Does::ReadsMail]);
    laptop.client().connect(&mut reader).await.unwrap();
    let used: Code = reader.used[0].parse().unwrap();
    office.gate().revoke(Scope::All).await.unwrap();

    let mut thief = crate::office::Codes::just(&used);
    assert!(laptop.client().connect(&mut thief).await.is_err());
    assert_eq!(thief.last_denied().unwrap().reason, DeniedReason::Wrong);
    assert!(office.gate().sessions().is_empty());
    mail.letter(); // what the thief had sent
}

#[tokio::test(flavor = "multi_thread")]
async fn another_code_is_sent_in_time_and_not_before_and_clears_no_count() {
    let mail = mail().await;
    let office = office().await;
    let laptop = office.device("10.9.0.2/32").await;
    let mut reader = Reader::of(
        &mail,
        [
            Does::Mistypes,
            Does::Mistypes,
            Does::Mistypes,
            Does::AsksAnew,
        ],
    );
    assert!(laptop.client().connect(&mut reader).await.is_err());
    let busy = reader.denied.last().unwrap();
    assert_eq!(busy.reason, DeniedReason::Busy);
    let wait = busy.locked_for_ms.unwrap();
    assert!((1..=30_000).contains(&wait), "{wait}");
    assert_eq!(
        busy.tries_left, 1,
        "three of five are gone, and the fifth costs a wait"
    );
    mail.letter();

    // Another attempt has a code of its own, and the count goes on.
    let does = [Does::Mistypes, Does::Mistypes, Does::ReadsMail];
    let mut reader = Reader::of(&mail, does);
    assert!(laptop.client().connect(&mut reader).await.is_err());
    let reasons = [
        DeniedReason::Wrong,
        DeniedReason::Wrong,
        DeniedReason::Locked,
    ];
    assert_eq!(reader.reasons(), reasons, "a right code past the limit");

    // After the wait.
    office.clock.advance(Duration::from_secs(120));
    let (client, mut reader) = (laptop.client(), Reader::of(&mail, [Does::ReadsMail]));
    client.connect(&mut reader).await.unwrap();
    assert!(laptop.reach().await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_without_end_send_ten_letters() {
    let mail = mail().await;
    let office = office().await;
    let laptop = office.device("10.9.0.2/32").await;
    for _ in 0..14 {
        let mut no_reader = Reader::of(&mail, []);
        assert!(laptop.client().connect(&mut no_reader).await.is_err());
    }
    for _ in 0..10 {
        mail.letter();
    }
    assert!(mail.is_empty());
}

// On one thread, which is the one whose log is read.
#[tokio::test(flavor = "current_thread")]
async fn neither_a_code_nor_an_address_reaches_a_log() {
    let mail = mail().await;
    let watch = SecretWatch::new();
    let guard = tracing::subscriber::set_default(watch.subscriber());
    let office = office().await;
    let laptop = office.device("10.9.0.2/32").await;
    let client = laptop.client();
    let does = [Does::Gives("nobody@example.com"), Does::Gives(ADDRESS)];
    let mut reader = Reader::of(&mail, does);
    assert!(
        client
            .enrol(
                office.new_factor(FactorKind::EMAIL_CODE, "mail").await,
                &mut reader
            )
            .await
            .is_err()
    );
    mail.letter();
    let mut reader = Reader::of(&mail, [Does::Mistypes, Does::ReadsMail]);
    client.connect(&mut reader).await.unwrap();
    for code in &reader.used {
        watch.secret("a code", code);
    }
    watch.secret("the address", ADDRESS);
    watch.secret("an address that was refused", "nobody@example.com");
    drop(guard);
    watch.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_server_that_says_nothing_delays_nobody_else() {
    static SILENT: LazyLock<(u16, Mutex<Receiver<()>>)> = LazyLock::new(|| {
        let (at, taken) = silent_server();
        (at.port(), Mutex::new(taken))
    });
    fn with_a_silent_server(config: &mut GateConfig) {
        // Longer than any test: a call that waits for it waits to the end.
        config.timeouts.verifier = Duration::from_secs(3600);
        push_verifier(config, SILENT.0, Duration::from_secs(3600));
        config.policy.steps = vec![Step::AnyOf(vec![FactorKind::TOTP, FactorKind::EMAIL_CODE])];
    }
    let office = Office::open_configured(with_a_silent_server).await;
    enrol(&office).await;
    let (laptop, phone) = (
        office.device("10.9.0.2/32").await,
        office.device("10.9.0.3/32").await,
    );
    let waits = tokio::spawn(async move {
        let mail = mail().await;
        let mut reader = Reader::of(&mail, [Does::ChoosesAnother]);
        laptop.client().connect(&mut reader).await
    });
    let taken = SILENT.1.lock().await.recv_timeout(Duration::from_secs(20));
    taken.expect("the silent server is asked");

    let client = phone.client();
    client.connect(&mut office.right_codes()).await.unwrap();
    assert!(phone.reach().await.is_ok());
    waits.abort();
}
