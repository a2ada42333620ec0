//! Codes by e-mail: which are right, how often one is sent, and how an address is enrolled.

use std::sync::Mutex;

use super::*;
use crate::channel::message::SecretString;
use crate::factor::harness::{Harness, NOW};
use crate::id::AttemptId;
use crate::key::PublicKey;
use crate::seal::SecretBytes;
use crate::time::Timestamp;

const ADDRESS: &str = "alice@example.com";

/// A mail server that keeps what it is sent, or takes nothing.
#[derive(Default)]
struct Mail {
    sent: Mutex<Vec<(String, Code, Occasion)>>,
    is_down: bool,
}

#[async_trait]
impl CodeSender for Mail {
    async fn send(&self, letter: &Letter<'_>) -> Result<(), SendError> {
        if self.is_down {
            return Err(SendError::Unreachable);
        }
        if letter.to.expose().starts_with("nobody@") {
            return Err(SendError::Undeliverable);
        }
        let to = letter.to.expose().to_owned();
        let sent = (to, letter.code.clone(), letter.occasion);
        self.sent.lock().unwrap().push(sent);
        Ok(())
    }
}

struct Play {
    mail: Arc<Mail>,
    verifier: EmailCodeVerifier,
    harness: Harness,
}

impl Play {
    fn with(mail: Mail) -> Self {
        let mail = Arc::new(mail);
        let address: EmailAddress = ADDRESS.parse().unwrap();
        Self {
            verifier: EmailCodeVerifier::new(mail.clone()).unwrap(),
            mail,
            harness: Harness::new(FactorKind::EMAIL_CODE, address.to_secret()),
        }
    }

    fn new() -> Self {
        Self::with(Mail::default())
    }

    fn sent(&self) -> usize {
        self.mail.sent.lock().unwrap().len()
    }

    fn last(&self) -> (String, Code, Occasion) {
        self.mail.sent.lock().unwrap().last().unwrap().clone()
    }

    async fn ask(&mut self) -> Result<Challenge, VerifyError> {
        let asked = self.verifier.challenge(&self.harness.context()).await?;
        self.harness.state = asked.state;
        Ok(asked.challenge)
    }

    /// Has a code sent; gives it.
    async fn code(&mut self) -> Code {
        self.ask().await.unwrap();
        self.last().1
    }

    async fn verify(&self, code: &Code) -> Result<Proof, VerifyError> {
        let answer = Answer::Code { code: code.clone() };
        match self
            .verifier
            .verify(&self.harness.context(), &answer)
            .await?
        {
            Verdict::Proven(proof) => Ok(*proof),
            Verdict::Ask(asked) => panic!("asks again: {asked:?}"),
        }
    }

    async fn enrol(&mut self, answer: Answer) -> Result<Registration, VerifyError> {
        let enrolled = self
            .verifier
            .enrol(&self.harness.enrolling(), &answer)
            .await;
        if let Ok(Registration::Ask(asked)) = &enrolled {
            self.harness.state.clone_from(&asked.state);
        }
        enrolled
    }

    async fn enrol_address(&mut self, text: &str) -> Result<Challenge, VerifyError> {
        let address = SecretString::new(text.to_owned()).unwrap();
        match self.enrol(Answer::Address { address }).await? {
            Registration::Ask(asked) => Ok(asked.challenge),
            Registration::Proven(_) => panic!("an address proves nothing"),
        }
    }
}

fn code(text: &str) -> Code {
    text.parse().unwrap()
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[tokio::test]
async fn the_code_that_was_sent_is_right_and_claims_little() {
    let mut play = Play::new();
    let challenge = play.ask().await.unwrap();
    let shown = Challenge::SentCode {
        digits: 8,
        sent_to: "a…@example.com".to_owned(),
        good_for_ms: 300_000, // the attempt ends before the code does
        resend_in_ms: 30_000,
    };
    assert_eq!(challenge, shown);
    let (to, code, occasion) = play.last();
    assert_eq!((&*to, occasion), (ADDRESS, Occasion::SignIn));
    let proof = play.verify(&code).await.unwrap();
    let assurance = Assurance {
        replay_resistant: true,
        ..Assurance::least(FactorKind::EMAIL_CODE, NOW)
    };
    assert_eq!(proof, Proof::new(play.harness.factor.id, assurance));
}

#[tokio::test]
async fn another_code_is_wrong_and_one_of_other_length_is_unfit() {
    let mut play = Play::new();
    let right = play.code().await;
    let wrong = if right.expose_secret() == "00000000" {
        "00000001"
    } else {
        "00000000"
    };
    assert!(matches!(
        play.verify(&code(wrong)).await,
        Err(VerifyError::Wrong)
    ));
    for unfit in ["123456", "1234567", "123456789"] {
        assert!(matches!(
            play.verify(&code(unfit)).await,
            Err(VerifyError::Unfit)
        ));
    }
}

#[tokio::test]
async fn a_code_is_right_for_its_attempt_peer_location_and_factor() {
    let mut play = Play::new();
    let code = play.code().await;
    let here = (
        play.harness.attempt,
        play.harness.peer,
        play.harness.location_key,
        play.harness.secret.clone(),
    );
    let other = PublicKey::from_bytes([77; 32]);
    play.harness.attempt = AttemptId::from_bytes([77; 32]);
    assert!(matches!(play.verify(&code).await, Err(VerifyError::Wrong)));
    (play.harness.attempt, play.harness.peer) = (here.0, other);
    assert!(matches!(play.verify(&code).await, Err(VerifyError::Wrong)));
    (play.harness.peer, play.harness.location_key) = (here.1, other);
    assert!(matches!(play.verify(&code).await, Err(VerifyError::Wrong)));
    let address: EmailAddress = "bob@example.com".parse().unwrap();
    (play.harness.location_key, play.harness.secret) = (here.2, address.to_secret());
    assert!(matches!(play.verify(&code).await, Err(VerifyError::Wrong)));
    play.harness.secret = here.3;
    assert!(play.verify(&code).await.is_ok());
}

#[tokio::test]
async fn a_code_of_another_run_of_the_gate_is_wrong() {
    let mut play = Play::new();
    let code = play.code().await;
    play.verifier = EmailCodeVerifier::new(play.mail.clone()).unwrap();
    assert!(matches!(play.verify(&code).await, Err(VerifyError::Wrong)));
}

#[tokio::test]
async fn a_code_is_good_for_ten_minutes() {
    let mut play = Play::new();
    let code = play.code().await;
    play.harness.now = NOW + secs(599);
    assert!(play.verify(&code).await.is_ok());
    play.harness.now = NOW + secs(600);
    assert!(matches!(
        play.verify(&code).await,
        Err(VerifyError::Expired)
    ));
}

#[tokio::test]
async fn another_code_replaces_the_one_before_once_it_may_be_sent() {
    let mut play = Play::new();
    let first = play.code().await;
    play.harness.now = NOW + secs(20);
    let early = play.ask().await;
    assert!(
        matches!(early, Err(VerifyError::Busy { retry }) if retry == secs(10)),
        "{early:?}"
    );
    assert_eq!(play.sent(), 1);
    assert!(
        play.verify(&first).await.is_ok(),
        "the one that stands is good"
    );
    play.harness.now = NOW + secs(30);
    let second = play.code().await;
    assert!(play.verify(&second).await.is_ok());
    assert!(matches!(play.verify(&first).await, Err(VerifyError::Wrong)));
}

#[tokio::test]
async fn attempts_without_end_send_ten_letters_an_hour() {
    let mut play = Play::new();
    for n in 0..50 {
        play.harness.attempt = AttemptId::from_bytes([n; 32]);
        let asked = play.ask().await;
        assert_eq!(asked.is_ok(), n < 10, "{n}: {asked:?}");
    }
    assert_eq!(play.sent(), 10);
}

#[tokio::test]
async fn an_address_is_enrolled_by_the_code_that_is_sent_there() {
    let mut play = Play::new();
    let asked = play.verifier.register(&play.harness.enrolling()).await;
    assert_eq!(asked.unwrap(), Challenge::Address {}.into());
    let challenge = play.enrol_address("  bob@example.org ").await.unwrap();
    assert!(
        matches!(&challenge, Challenge::SentCode { sent_to, .. } if sent_to == "b…@example.org"),
        "{challenge:?}"
    );
    let (to, sent, occasion) = play.last();
    assert_eq!((&*to, occasion), ("bob@example.org", Occasion::Enrol));
    let other = if sent.expose_secret() == "00000000" {
        "1"
    } else {
        "0"
    };
    let wrong = code(&other.repeat(8));
    let wrong = play.enrol(Answer::Code { code: wrong }).await;
    assert!(matches!(wrong, Err(VerifyError::Wrong)), "{wrong:?}");
    let enrolled = play.enrol(Answer::Code { code: sent }).await.unwrap();
    let Registration::Proven(credential) = enrolled else {
        panic!("more is asked: {enrolled:?}")
    };
    let address = EmailAddress::from_secret(&credential.secret).unwrap();
    assert_eq!(address.expose(), "bob@example.org");
}

#[tokio::test]
async fn an_address_and_a_code_can_be_asked_for_again() {
    let mut play = Play::new();
    for text in ["", "alice", "@example.com", "nobody@example.com", "a b@c.d"] {
        let refused = play.enrol_address(text).await;
        assert!(
            matches!(refused, Err(VerifyError::Unfit)),
            "{text}: {refused:?}"
        );
    }
    play.enrol_address("alcie@example.com").await.unwrap();
    let early = play.enrol_address(ADDRESS).await;
    assert!(matches!(early, Err(VerifyError::Busy { .. })), "{early:?}");
    let first = play.last().1;
    play.harness.now = play.harness.now + secs(30);
    play.enrol_address(ADDRESS).await.unwrap();
    let old = play.enrol(Answer::Code { code: first }).await;
    assert!(matches!(old, Err(VerifyError::Wrong)), "{old:?}");
    let code = play.last().1;
    let enrolled = play.enrol(Answer::Code { code }).await;
    assert!(matches!(enrolled, Ok(Registration::Proven(_))));
}

#[tokio::test]
async fn a_code_before_an_address_is_unfit() {
    let mut play = Play::new();
    let code = code("12345678");
    let early = play.enrol(Answer::Code { code }).await;
    assert!(matches!(early, Err(VerifyError::Unfit)), "{early:?}");
}

#[tokio::test]
async fn a_mail_server_that_is_down_is_not_the_users_failure() {
    let mut play = Play::with(Mail {
        is_down: true,
        ..Mail::default()
    });
    let failed = play.ask().await;
    assert!(matches!(failed, Err(VerifyError::Backend(_))), "{failed:?}");
    let failed = play.enrol_address(ADDRESS).await;
    assert!(matches!(failed, Err(VerifyError::Backend(_))), "{failed:?}");
}

#[test]
fn an_address_prints_itself_in_part_and_comes_back_from_its_secret() {
    for (text, masked) in [
        (ADDRESS, "a…@example.com"),
        ("Ärger+x@bücher.example", "Ä…@bücher.example"),
        ("o'neil@[192.0.2.1]", "o…@[192.0.2.1]"),
    ] {
        let address: EmailAddress = text.parse().unwrap();
        assert_eq!(address.masked(), masked);
        assert_eq!(format!("{address:?}"), format!("EmailAddress({masked})"));
        assert_eq!(EmailAddress::from_secret(&address.to_secret()), Ok(address));
    }
}

#[test]
fn what_is_no_address_is_refused_without_a_word_of_it() {
    let long = format!("{}@example.com", "a".repeat(60)).repeat(5);
    for text in [
        "",
        "alice",
        "alice@",
        "@example.com",
        "alice@exa mple.com",
        "alice@example.com\r\nRCPT TO:<bob@example.com>",
        "\"alice\r\n\"@example.com",
        "\"a b\"@example.com",
        "<alice@example.com>",
        "alice@example.com, bob@example.com",
        &long,
    ] {
        let refused = text.parse::<EmailAddress>().unwrap_err();
        assert_eq!(
            refused.to_string(),
            "not an e-mail address: expected one such as alice@example.com"
        );
    }
    for bytes in [vec![], vec![1], vec![2, b'a'], b"\x01alice".to_vec()] {
        assert!(EmailAddress::from_secret(&SecretBytes::new(bytes)).is_err());
    }
}

#[test]
fn codes_have_eight_digits_and_low_ones_are_no_likelier() {
    let codes: Vec<u32> = (0..4000)
        .map(|_| issued::generate().unwrap())
        .inspect(|code| assert_eq!(code.expose_secret().len(), 8))
        .map(|code| code.expose_secret().parse().unwrap())
        .collect();
    // Fair by 30 standard deviations and more; a test that fails for no reason is none.
    let low = codes.iter().filter(|code| **code < 50_000_000).count();
    assert!((1000..3000).contains(&low), "{low}");
}

#[test]
fn what_is_remembered_holds_no_code_and_comes_back() {
    let harness = Harness::new(FactorKind::EMAIL_CODE, SecretBytes::new(vec![]));
    let (key, address) = (Key::generate().unwrap(), ADDRESS.parse().unwrap());
    let code = code("01234567");
    let expires = Timestamp::from_millis(5);
    let attempt = harness.attempt();
    let issued = Issued::new(&key, &attempt.binding(), &address, expires, &code).unwrap();
    let state = issued.to_state(Some(&address));
    assert!(
        !state
            .expose_secret()
            .windows(8)
            .any(|part| part == b"01234567")
    );
    let (again, enrolled) = Issued::from_state(&state).unwrap();
    assert_eq!(enrolled, Some(address.clone()));
    assert!(again.is_over(expires) && !again.is_over(Timestamp::from_millis(4)));
    assert!(
        again
            .is_for(&key, &attempt.binding(), &address, &code)
            .unwrap()
    );
    for cut in 0..41 {
        let cut = SecretBytes::new(state.expose_secret()[..cut].to_vec());
        assert!(Issued::from_state(&cut).is_err());
    }
}
