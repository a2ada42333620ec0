//! Recovery codes: how they are written, and that each is good once.

use super::*;
use crate::factor::harness::{Harness, NOW};

const VERIFIER: RecoveryCodeVerifier = RecoveryCodeVerifier::new();

/// A harness with a set of codes, and the codes as their user has them.
async fn harness() -> (Harness, Vec<Zeroizing<String>>) {
    let codes = RecoveryCodes::generate().unwrap();
    let secret = codes.to_secret().await.unwrap();
    (
        Harness::new(FactorKind::RECOVERY_CODES, secret),
        codes.expose(),
    )
}

fn answer(text: &str) -> Answer {
    Answer::RecoveryCode {
        code: SecretString::new(text.to_owned()).unwrap(),
    }
}

async fn verify(harness: &Harness, text: &str) -> Result<Proof, VerifyError> {
    match VERIFIER.verify(&harness.context(), &answer(text)).await? {
        Verdict::Proven(proof) => Ok(*proof),
        Verdict::Ask(asked) => panic!("asks again: {asked:?}"),
    }
}

async fn left(harness: &Harness) -> u32 {
    let asked = VERIFIER.challenge(&harness.context()).await.unwrap();
    let Challenge::RecoveryCode { left } = asked.challenge else {
        panic!("another question: {asked:?}")
    };
    left
}

#[tokio::test]
async fn each_code_is_right_once_and_replayed_then() {
    let (mut harness, codes) = harness().await;
    assert_eq!(codes.len(), CODES);
    for (spent, code) in [&codes[7], &codes[0]].into_iter().zip(1..) {
        let proof = verify(&harness, spent).await.unwrap();
        let assurance = Assurance {
            replay_resistant: true,
            ..Assurance::least(FactorKind::RECOVERY_CODES, NOW)
        };
        assert_eq!(proof.assurance, assurance);
        assert_eq!((proof.counter, proof.not_after), (None, None));
        // Nothing is spent before the store swaps the set.
        assert!(verify(&harness, spent).await.is_ok());
        harness.secret = proof.replace_secret.unwrap();
        let again = verify(&harness, spent).await;
        assert!(matches!(again, Err(VerifyError::Replayed)), "{again:?}");
        assert_eq!(left(&harness).await, 10 - code);
    }
    assert!(verify(&harness, &codes[1]).await.is_ok());
}

#[tokio::test]
async fn a_code_of_another_set_or_with_one_letter_changed_is_wrong() {
    let (harness, codes) = harness().await;
    let other = RecoveryCodes::generate().unwrap().expose();
    let code = codes[3].as_str();
    let changed = if code.ends_with('7') { "8" } else { "7" };
    let changed = format!("{}{changed}", &code[..code.len() - 1]);
    for wrong in [other[0].as_str(), &changed] {
        let refused = verify(&harness, wrong).await;
        assert!(matches!(refused, Err(VerifyError::Wrong)), "{refused:?}");
    }
}

#[tokio::test]
async fn what_is_no_code_is_unfit() {
    let (harness, codes) = harness().await;
    let longer = format!("{}0", codes[0].as_str());
    for text in [
        "",
        "0000",
        "not a code",
        &codes[0][..18],
        &longer,
        "UUUU-UUUU-UUUU-UUUU",
    ] {
        let unfit = verify(&harness, text).await;
        assert!(
            matches!(unfit, Err(VerifyError::Unfit)),
            "{text}: {unfit:?}"
        );
    }
    let code = Answer::Code {
        code: "123456".parse().unwrap(),
    };
    let unfit = VERIFIER.verify(&harness.context(), &code).await;
    assert!(matches!(unfit, Err(VerifyError::Unfit)));
}

#[test]
fn a_code_is_read_however_people_write_it() {
    let code = Code([0x00, 0x44, 0x32, 0x14, 0xc7, 0x42, 0x54, 0xb6, 0x35, 0xcf]);
    let text = code.text();
    assert_eq!(*text, "0123-4567-89AB-CDEF");
    for written in [
        "0123456789abcdef",
        " 0123 4567 89ab cdef ",
        "O1234567-89ABCDEF",
        "oI23-4567-89AB-CDEF",
        "ol23-4567-89AB-CDEF",
    ] {
        assert_eq!(Code::parse(written).unwrap().0, code.0, "{written}");
    }
}

#[tokio::test]
async fn spent_sets_and_stored_bytes_that_are_none_are_not_asked_about() {
    let (mut harness, _) = harness().await;
    let mut stored = Stored::read(&harness.secret).unwrap();
    for code in &mut stored.codes {
        code.spent = true;
    }
    let all_spent = stored.to_secret();
    stored.version = 2;
    let unknown = stored.to_secret();
    for secret in [all_spent, unknown, SecretBytes::new(Vec::new())] {
        harness.secret = secret;
        let asked = VERIFIER.challenge(&harness.context()).await;
        assert!(matches!(asked, Err(VerifyError::Backend(_))), "{asked:?}");
    }
}

#[tokio::test]
async fn a_new_set_is_shown_proven_by_one_of_its_codes_and_good_then() {
    let (mut harness, old) = harness().await;
    let asked = VERIFIER.register(&harness.enrolling()).await.unwrap();
    let Challenge::KeepRecoveryCodes { codes } = asked.challenge else {
        panic!("another question")
    };
    assert_eq!(codes.len(), CODES);
    harness.state = asked.state;
    let wrong = VERIFIER.enrol(&harness.enrolling(), &answer(&old[0])).await;
    assert!(matches!(wrong, Err(VerifyError::Wrong)), "{wrong:?}");

    let kept = codes[4].expose_secret();
    let enrolled = VERIFIER.enrol(&harness.enrolling(), &answer(kept)).await;
    let Registration::Proven(credential) = enrolled.unwrap() else {
        panic!("asks again")
    };
    assert_eq!((credential.counter, credential.id), (None, None));
    harness.secret = credential.secret;
    assert_eq!(left(&harness).await, 10);
    assert!(verify(&harness, kept).await.is_ok(), "it stays good");
    let refused = verify(&harness, &old[0]).await;
    assert!(matches!(refused, Err(VerifyError::Wrong)));
}

#[tokio::test]
async fn without_memory_of_the_codes_nothing_is_enrolled() {
    let (mut harness, codes) = harness().await;
    for state in [None, Some(vec![]), Some(vec![1; 100]), Some(vec![1; 102])] {
        harness.state = state.map(SecretBytes::new);
        let unjudged = VERIFIER
            .enrol(&harness.enrolling(), &answer(&codes[0]))
            .await;
        assert!(matches!(unjudged, Err(VerifyError::Backend(_))));
    }
}

#[tokio::test]
async fn what_is_stored_and_what_prints_has_no_code_in_it() {
    let codes = RecoveryCodes::generate().unwrap();
    let secret = codes.to_secret().await.unwrap();
    let stored = String::from_utf8(secret.expose_secret().to_vec()).unwrap();
    let printed = format!("{codes:?}");
    for code in codes.expose() {
        for group in code.split('-') {
            assert!(!printed.contains(group));
        }
        assert!(!stored.contains(code.as_str()));
    }
}
