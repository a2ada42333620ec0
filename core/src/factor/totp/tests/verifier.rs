//! The verifier: which answers it takes, and what it says of the others.

use super::*;
use crate::factor::{AttemptContext, Verdict};
use crate::id::{AttemptId, FactorId, LocationId, UserId};
use crate::key::PublicKey;
use crate::policy::Failures;
use crate::seal::Sealed;
use crate::store::{FactorRecord, FactorState};

const NOW: Timestamp = Timestamp::from_millis(1_767_225_615_000);

/// A factor, and who tries it.
struct Phone {
    location: LocationId,
    peer: PublicKey,
    user: UserId,
    attempt: AttemptId,
    factor: FactorRecord,
    totp: TotpSecret,
    secret: SecretBytes,
    now: Timestamp,
}

impl Phone {
    fn new(totp: TotpSecret) -> Self {
        let user: UserId = "alice".parse().unwrap();
        Self {
            location: "office".parse().unwrap(),
            peer: PublicKey::from_bytes([1; 32]),
            user: user.clone(),
            attempt: AttemptId::from_bytes([2; 32]),
            factor: FactorRecord {
                id: FactorId::from_bytes([3; 16]),
                user,
                kind: FactorKind::TOTP,
                label: "phone".parse().unwrap(),
                credential: None,
                sealed: Sealed::from_bytes(Vec::new()),
                state: FactorState::Active,
                last_counter: None,
                failures: Failures::default(),
            },
            secret: totp.to_secret(),
            totp,
            now: NOW,
        }
    }

    fn context(&self) -> Context<'_> {
        Context {
            attempt: AttemptContext {
                location: &self.location,
                location_key: &self.peer,
                peer: &self.peer,
                user: &self.user,
                id: &self.attempt,
                now: self.now,
                expires: self.now,
            },
            factor: &self.factor,
            secret: &self.secret,
            state: None,
        }
    }

    async fn verify(&self, code: Code) -> Result<Proof, VerifyError> {
        let answer = Answer::Code { code };
        match TotpVerifier::new().verify(&self.context(), &answer).await? {
            Verdict::Proven(proof) => Ok(*proof),
            Verdict::Ask(asked) => panic!("a code leads to no other question: {asked:?}"),
        }
    }

    /// The verdict on the code of so many steps from now.
    async fn verify_in(&self, steps: i64) -> Result<Proof, VerifyError> {
        let at = self.now.as_millis().checked_add_signed(steps * 30_000);
        let code = self.totp.code(Timestamp::from_millis(at.unwrap()));
        self.verify(code.unwrap()).await
    }
}

fn phone() -> Phone {
    // RFC 6238's secret: its codes around NOW all differ.
    Phone::new(rfc_secret_of(6))
}

fn rfc_secret_of(digits: u8) -> TotpSecret {
    let secret = b"12345678901234567890".to_vec();
    TotpSecret::new(secret, HashAlgorithm::Sha1, digits, 30).unwrap()
}

#[tokio::test]
async fn a_right_code_proves_possession_and_takes_its_step() {
    let phone = phone();
    let proof = phone.verify_in(0).await.unwrap();
    assert_eq!(
        proof,
        Proof {
            factor: phone.factor.id,
            assurance: Assurance {
                kind: FactorKind::TOTP,
                phishing_resistant: false,
                user_verified: false,
                replay_resistant: true,
                verifier_bound: false,
                hardware: false,
                authenticated_at: NOW,
            },
            counter: Some(phone.totp.step(NOW)),
            replace_secret: None,
            credential: None,
            not_after: None,
        }
    );
}

#[tokio::test]
async fn a_code_one_step_late_or_early_is_right_and_two_is_wrong() {
    let phone = phone();
    let step = phone.totp.step(NOW);
    for (steps, expected) in [(-1, step - 1), (1, step + 1)] {
        let proof = phone.verify_in(steps).await.unwrap();
        assert_eq!(proof.counter, Some(expected));
    }
    for steps in [-2, 2, -2880, 2880] {
        let late = phone.verify_in(steps).await;
        assert!(matches!(late, Err(VerifyError::Wrong)), "{steps}: {late:?}");
    }
}

#[tokio::test]
async fn any_digit_changed_is_wrong() {
    let phone = phone();
    let right = phone.totp.code(NOW).unwrap();
    for at in 0..6 {
        let mut digits: Vec<u8> = right.expose_secret().bytes().collect();
        digits[at] = if digits[at] == b'9' {
            b'0'
        } else {
            digits[at] + 1
        };
        let code = String::from_utf8(digits).unwrap().parse().unwrap();
        let wrong = phone.verify(code).await;
        assert!(matches!(wrong, Err(VerifyError::Wrong)), "{at}: {wrong:?}");
    }
}

#[tokio::test]
async fn a_code_of_a_step_that_is_not_after_the_last_is_replayed() {
    let mut phone = phone();
    let step = phone.totp.step(NOW);
    phone.factor.last_counter = Some(step);
    for steps in [-1, 0] {
        let again = phone.verify_in(steps).await;
        assert!(matches!(again, Err(VerifyError::Replayed)), "{again:?}");
    }
    assert_eq!(phone.verify_in(1).await.unwrap().counter, Some(step + 1));
}

#[tokio::test]
async fn a_code_that_steps_in_reach_share_proves_once() {
    for [first, last] in [NEIGHBOURS, ONE_APART] {
        let mut phone = phone();
        let code = phone.totp.code(start_of(first)).unwrap();
        phone.now = start_of(last - 1);
        let proof = phone.verify(code.clone()).await.unwrap();
        phone.factor.last_counter = proof.counter;
        for now in last - 1..=last + 1 {
            phone.now = start_of(now);
            let again = phone.verify(code.clone()).await;
            assert!(matches!(again, Err(VerifyError::Replayed)), "{again:?}");
        }
    }
}

#[tokio::test]
async fn a_code_of_another_length_is_unfit() {
    for (digits, code) in [
        (6, "1234567"),
        (6, "12345678"),
        (8, "123456"),
        (7, "1234567890"),
    ] {
        let phone = Phone::new(rfc_secret_of(digits));
        let unfit = phone.verify(code.parse().unwrap()).await;
        assert!(matches!(unfit, Err(VerifyError::Unfit)), "{code}");
    }
}

#[tokio::test]
async fn a_secret_that_can_not_be_read_gives_no_verdict_and_no_challenge() {
    let mut phone = phone();
    let code = phone.totp.code(NOW).unwrap();
    for bytes in [
        vec![],
        vec![1, 1, 6, 0, 30],
        vec![7; 25],
        vec![1, 9, 6, 0, 30, 1],
    ] {
        phone.secret = SecretBytes::new(bytes);
        let verdict = phone.verify(code.clone()).await;
        assert!(
            matches!(verdict, Err(VerifyError::Backend(_))),
            "{verdict:?}"
        );
        let challenge = TotpVerifier::new().challenge(&phone.context()).await;
        assert!(matches!(challenge, Err(VerifyError::Backend(_))));
    }
}

#[tokio::test]
async fn the_challenge_asks_for_as_many_digits_as_the_codes_have() {
    for digits in 6..=8 {
        let phone = Phone::new(rfc_secret_of(digits));
        let asked = TotpVerifier::new().challenge(&phone.context()).await;
        assert_eq!(asked.unwrap(), Challenge::Code { digits }.into());
    }
}
