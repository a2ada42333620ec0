//! Passwords: which may be chosen, which are right, and when one is stored again.

use super::*;
use crate::channel::message::SecretString;
use crate::factor::harness::{Harness, NOW};

const PASSWORD: &str = "correct horse battery staple";

/// As little as Argon2 does, so that the tests are about something else.
fn verifier() -> PasswordVerifier {
    PasswordVerifier::new().danger_cost(8, 1, 1)
}

async fn harness(verifier: &PasswordVerifier, password: &str) -> Harness {
    let user = "alice".parse().unwrap();
    let secret = verifier.secret(&user, password).await.unwrap();
    Harness::new(FactorKind::PASSWORD, secret)
}

fn answer(text: &str) -> Answer {
    Answer::Password {
        password: SecretString::new(text.to_owned()).unwrap(),
    }
}

async fn verify(
    verifier: &PasswordVerifier,
    harness: &Harness,
    text: &str,
) -> Result<Proof, VerifyError> {
    match verifier.verify(&harness.context(), &answer(text)).await? {
        Verdict::Proven(proof) => Ok(*proof),
        Verdict::Ask(asked) => panic!("asks again: {asked:?}"),
    }
}

async fn enrol(
    verifier: &PasswordVerifier,
    harness: &Harness,
    text: &str,
) -> Result<Credential, VerifyError> {
    match verifier.enrol(&harness.enrolling(), &answer(text)).await? {
        Registration::Proven(credential) => Ok(credential),
        Registration::Ask(asked) => panic!("asks again: {asked:?}"),
    }
}

#[tokio::test]
async fn the_password_is_right_and_claims_no_more_than_knowledge() {
    let verifier = PasswordVerifier::new();
    let harness = harness(&verifier, PASSWORD).await;
    let proof = verify(&verifier, &harness, PASSWORD).await.unwrap();
    let assurance = Assurance::least(FactorKind::PASSWORD, NOW);
    assert_eq!(proof, Proof::new(harness.factor.id, assurance));
}

#[tokio::test]
async fn any_other_text_is_wrong_and_none_or_one_too_long_is_unfit() {
    let verifier = verifier();
    let harness = harness(&verifier, PASSWORD).await;
    let longer = format!("{PASSWORD} ");
    for wrong in ["x", "Correct horse battery staple", &PASSWORD[1..], &longer] {
        let refused = verify(&verifier, &harness, wrong).await;
        assert!(matches!(refused, Err(VerifyError::Wrong)), "{refused:?}");
    }
    for unfit in [String::new(), "x".repeat(LONGEST + 1)] {
        let refused = verify(&verifier, &harness, &unfit).await;
        assert!(matches!(refused, Err(VerifyError::Unfit)), "{refused:?}");
    }
    let code = Answer::RecoveryCode {
        code: SecretString::new(PASSWORD.to_owned()).unwrap(),
    };
    let unfit = verifier.verify(&harness.context(), &code).await;
    assert!(matches!(unfit, Err(VerifyError::Unfit)));
}

#[tokio::test]
async fn a_password_is_as_long_as_its_characters_whatever_they_are() {
    let alone = verifier();
    let beside = PasswordVerifier::beside_another_factor().danger_cost(8, 1, 1);
    let harness = harness(&alone, PASSWORD).await;
    for (verifier, shortest) in [(&alone, 15), (&beside, 8)] {
        let asked = verifier.register(&harness.enrolling()).await.unwrap();
        assert_eq!(asked.challenge, Challenge::ChoosePassword { shortest });
        let shortest = usize::try_from(shortest).unwrap();
        for character in ["a", "é", "語", "🐎"] {
            let short = enrol(verifier, &harness, &character.repeat(shortest - 1)).await;
            assert!(matches!(short, Err(VerifyError::Unfit)), "{short:?}");
            let fits = enrol(verifier, &harness, &character.repeat(shortest)).await;
            assert!(fits.is_ok(), "{fits:?}");
            let fits = enrol(verifier, &harness, &character.repeat(LONGEST)).await;
            assert!(fits.is_ok(), "{fits:?}");
            let long = enrol(verifier, &harness, &character.repeat(LONGEST + 1)).await;
            assert!(matches!(long, Err(VerifyError::Unfit)), "{long:?}");
        }
    }
}

#[tokio::test]
async fn a_password_is_the_same_however_its_accents_are_typed() {
    let verifier = verifier();
    let composed = "caf\u{e9} caf\u{e9} caf\u{e9}!";
    let decomposed = "cafe\u{301} cafe\u{301} cafe\u{301}!";
    let harness = harness(&verifier, composed).await;
    assert!(verify(&verifier, &harness, decomposed).await.is_ok());
    // Counted as it is stored: 15 characters, not 18.
    let short = enrol(&verifier, &harness, &decomposed[1..]).await;
    assert!(matches!(short, Err(VerifyError::Unfit)));
}

#[tokio::test]
async fn a_password_on_the_blocklist_is_not_taken() {
    struct Names;
    impl Blocklist for Names {
        fn holds(&self, user: &UserId, password: &str) -> bool {
            password.contains(user.as_str())
        }
    }
    let verifier = verifier().blocklist(Arc::new(Names));
    let harness = harness(&verifier, PASSWORD).await;
    let blocked = enrol(&verifier, &harness, "alice and her horse").await;
    assert!(matches!(blocked, Err(VerifyError::Unfit)), "{blocked:?}");
    assert!(enrol(&verifier, &harness, PASSWORD).await.is_ok());
}

#[tokio::test]
async fn a_right_password_is_stored_again_at_a_new_cost() {
    let mut harness = harness(&verifier(), PASSWORD).await;
    let dearer = verifier().danger_cost(8, 2, 1);
    let wrong = verify(&dearer, &harness, "x").await;
    assert!(matches!(wrong, Err(VerifyError::Wrong)));
    let proof = verify(&dearer, &harness, PASSWORD).await.unwrap();
    harness.secret = proof.replace_secret.unwrap();
    assert_eq!(Stored::read(&harness.secret).unwrap().cost, dearer.cost);
    let proof = verify(&dearer, &harness, PASSWORD).await.unwrap();
    assert_eq!(proof.replace_secret, None);
}

#[tokio::test]
async fn two_users_with_one_password_have_different_hashes() {
    let verifier = verifier();
    let (one, other) = (
        harness(&verifier, PASSWORD).await,
        harness(&verifier, PASSWORD).await,
    );
    assert!(one.secret != other.secret);
}

#[tokio::test]
async fn a_stored_password_is_read_strictly() {
    let verifier = verifier();
    let mut harness = harness(&verifier, PASSWORD).await;
    let text = String::from_utf8(harness.secret.expose_secret().to_vec()).unwrap();
    for bad in [
        String::new(),
        text.replace(r#""version":1"#, r#""version":2"#),
        text.replace(r#""memory":8"#, r#""memory":0"#),
        text.replace(r#"{"version""#, r#"{"more":1,"version""#),
        text.replace(r#""salt":""#, r#""salt":"AAAA"#),
    ] {
        assert_ne!(bad, text);
        harness.secret = SecretBytes::new(bad.clone().into_bytes());
        let verdict = verify(&verifier, &harness, PASSWORD).await;
        assert!(
            matches!(verdict, Err(VerifyError::Backend(_))),
            "{bad}: {verdict:?}"
        );
    }
}

#[tokio::test]
async fn the_password_is_neither_stored_nor_printed() {
    let verifier = verifier();
    let harness = harness(&verifier, PASSWORD).await;
    let stored = String::from_utf8(harness.secret.expose_secret().to_vec()).unwrap();
    let wrong = verify(&verifier, &harness, "another password").await;
    let shown = format!("{stored} {verifier:?} {wrong:?}");
    assert!(!shown.contains("horse") && !shown.contains("another"));
}
