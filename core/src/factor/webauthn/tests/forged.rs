//! What a credential's own key signs and an honest authenticator, or browser, would not.

use super::*;
use crate::passkey::{BACKED_UP, BACKUP_ELIGIBLE, Signed, USER_VERIFIED};

/// The verdict on an assertion with something changed before it was signed.
async fn verdict_on(
    verifier: &WebAuthnVerifier,
    key: &SoftwareKey,
    factor: &Factor,
    change: impl FnOnce(&mut Signed),
) -> Result<Proof, VerifyError> {
    let attempt = Attempt::of("alice");
    let (options, state) = attempt.challenge(verifier, factor).await;
    let assertion = key.get(&options).await.unwrap();
    let forged = key.forge(&assertion, change).await;
    attempt.verify(verifier, factor, &state, &forged).await
}

#[tokio::test]
async fn what_the_forger_leaves_alone_is_right() {
    let (verifier, key) = (verifier(), SoftwareKey::at(ORIGIN));
    let factor = enrolled(&verifier, "alice", &key).await;
    let untouched = verdict_on(&verifier, &key, &factor, |_| {}).await;
    assert!(untouched.is_ok(), "{untouched:?}");
}

#[tokio::test]
async fn each_of_these_is_wrong_though_the_signature_is_right() {
    let (verifier, key) = (verifier(), SoftwareKey::at(ORIGIN));
    let factor = enrolled(&verifier, "alice", &key).await;
    type Forgery = (&'static str, fn(&mut Signed));
    let forgeries: [Forgery; 9] = [
        ("no verified user", |signed| signed.flip(USER_VERIFIED)),
        ("no present user", |signed| signed.flip(1)),
        ("another relying party", |signed| {
            signed.scope("example.org")
        }),
        ("another site", |signed| {
            signed.client_data["origin"] = "https://gate.example.org".into();
        }),
        ("another ceremony", |signed| {
            signed.client_data["type"] = "webauthn.create".into();
        }),
        ("another challenge", |signed| {
            signed.client_data["challenge"] = "A".repeat(43).into();
        }),
        ("a frame of another site", |signed| {
            signed.client_data["crossOrigin"] = true.into();
        }),
        ("a page under another site", |signed| {
            signed.client_data["topOrigin"] = "https://example.org".into();
        }),
        ("no origin", |signed| {
            signed.client_data["origin"] = serde_json::Value::Null;
        }),
    ];
    for (what, change) in forgeries {
        let verdict = verdict_on(&verifier, &key, &factor, change).await;
        assert!(
            matches!(verdict, Err(VerifyError::Wrong)),
            "{what}: {verdict:?}"
        );
    }
}

#[tokio::test]
async fn a_credential_does_not_change_whether_it_may_be_copied() {
    let verifier = verifier();
    for (enrolled_with, change) in [
        (BACKUP_ELIGIBLE, BACKUP_ELIGIBLE),
        (BACKUP_ELIGIBLE | BACKED_UP, BACKUP_ELIGIBLE | BACKED_UP),
        (0, BACKUP_ELIGIBLE),
        (0, BACKUP_ELIGIBLE | BACKED_UP),
        // Backed up, and not eligible for it.
        (0, BACKED_UP),
        (BACKUP_ELIGIBLE | BACKED_UP, BACKUP_ELIGIBLE),
    ] {
        let key = SoftwareKey::at(ORIGIN);
        let factor = enrolled_as(&verifier, &key, USER_VERIFIED | enrolled_with).await;
        let verdict = verdict_on(&verifier, &key, &factor, |signed| {
            // The authenticator says eligible and backed up, always.
            signed.flip((BACKUP_ELIGIBLE | BACKED_UP) ^ enrolled_with ^ change);
        })
        .await;
        assert!(
            matches!(verdict, Err(VerifyError::Wrong)),
            "{enrolled_with:#b} ^ {change:#b}: {verdict:?}"
        );
    }
}

#[tokio::test]
async fn that_a_credential_has_been_backed_up_since_is_kept() {
    let (verifier, key) = (verifier(), SoftwareKey::at(ORIGIN));
    let mut factor = enrolled_as(&verifier, &key, USER_VERIFIED | BACKUP_ELIGIBLE).await;
    assert!(
        !Record::read(&factor.secret)
            .unwrap()
            .credential()
            .backup_state
    );
    let proof = verdict_on(&verifier, &key, &factor, |_| {}).await.unwrap();
    factor.secret = proof.replace_secret.unwrap();
    assert!(
        Record::read(&factor.secret)
            .unwrap()
            .credential()
            .backup_state
    );
    let again = verdict_on(&verifier, &key, &factor, |_| {}).await.unwrap();
    assert_eq!(again.replace_secret, None);
}

#[tokio::test]
async fn a_signature_counter_grows_and_what_does_not_is_replayed() {
    let (verifier, key) = (verifier(), SoftwareKey::at(ORIGIN).counting());
    let mut factor = enrolled(&verifier, "alice", &key).await;
    let proof = verdict_on(&verifier, &key, &factor, |signed| signed.count(9)).await;
    factor.secret = proof.unwrap().replace_secret.unwrap();
    assert_eq!(
        Record::read(&factor.secret).unwrap().credential().counter,
        9
    );
    for counter in [0, 1, 8, 9] {
        let stale = verdict_on(&verifier, &key, &factor, |signed| signed.count(counter)).await;
        assert!(
            matches!(stale, Err(VerifyError::Replayed)),
            "{counter}: {stale:?}"
        );
    }
    let next = verdict_on(&verifier, &key, &factor, |signed| signed.count(10)).await;
    assert!(next.unwrap().replace_secret.is_some());
}

#[tokio::test]
async fn an_older_attempt_is_judged_by_the_current_counter() {
    let (verifier, key) = (verifier(), SoftwareKey::at(ORIGIN).counting());
    let mut factor = enrolled(&verifier, "alice", &key).await;
    let attempt = Attempt::of("alice");
    let (options, state) = attempt.challenge(&verifier, &factor).await;
    let assertion = key.get(&options).await.unwrap();
    let first = attempt.verify(&verifier, &factor, &state, &assertion).await;
    factor.secret = first.unwrap().replace_secret.unwrap();
    // The very same, against the state that it was asked with.
    let again = attempt.verify(&verifier, &factor, &state, &assertion).await;
    assert!(matches!(again, Err(VerifyError::Replayed)), "{again:?}");
}

#[tokio::test]
async fn an_unknown_or_contradictory_credential_id_is_wrong() {
    let (verifier, key) = (verifier(), SoftwareKey::at(ORIGIN));
    let factor = enrolled(&verifier, "alice", &key).await;
    let attempt = Attempt::of("alice");
    let (options, state) = attempt.challenge(&verifier, &factor).await;
    let assertion = key.get(&options).await.unwrap();
    let other = data_encoding::BASE64URL_NOPAD.encode(&[9; 16]);
    let oversized = data_encoding::BASE64URL_NOPAD.encode(&[9; 1024]);
    for (id, raw_id) in [
        (Some(&other), Some(&other)),
        (Some(&oversized), Some(&oversized)),
        (Some(&other), None),
        (None, Some(&other)),
    ] {
        let mut changed: serde_json::Value = serde_json::from_str(&assertion).unwrap();
        for (member, value) in [("id", id), ("rawId", raw_id)] {
            if let Some(value) = value {
                changed[member] = value.as_str().into();
            }
        }
        let changed = changed.to_string();
        let verdict = attempt.verify(&verifier, &factor, &state, &changed).await;
        assert!(matches!(verdict, Err(VerifyError::Wrong)), "{verdict:?}");
    }
    let mut typed: serde_json::Value = serde_json::from_str(&assertion).unwrap();
    typed["type"] = "password".into();
    let verdict = attempt
        .verify(&verifier, &factor, &state, &typed.to_string())
        .await;
    assert!(matches!(verdict, Err(VerifyError::Wrong)), "{verdict:?}");
}
