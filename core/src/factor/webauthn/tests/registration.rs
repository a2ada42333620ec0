//! Enrolling: which credentials are taken, and what is kept of them.

use super::*;
use crate::passkey::{BACKED_UP, BACKUP_ELIGIBLE, USER_VERIFIED};

/// What becomes of a credential with this id and these flags beside user presence.
async fn enrolment_of(
    verifier: &WebAuthnVerifier,
    id: Vec<u8>,
    flags: u8,
) -> Result<Credential, VerifyError> {
    let attempt = Attempt::of("alice");
    let (options, state) = attempt.register(verifier, &[]).await;
    let key = SoftwareKey::at(ORIGIN);
    let created = key.create_as(&options, id, flags).await;
    attempt.enrol(verifier, &[], &state, &created).await
}

#[tokio::test]
async fn new_options_exclude_known_credentials_and_attestation() {
    let (verifier, key) = (verifier(), SoftwareKey::at(ORIGIN));
    let factor = enrolled(&verifier, "alice", &key).await;
    let other_kind = FactorRecord {
        kind: FactorKind::DEVICE_KEY,
        credential: CredentialId::new(vec![5; 16]),
        ..factor.record.clone()
    };
    let factors = [factor.record, other_kind];
    let (options, _) = Attempt::of("alice").register(&verifier, &factors).await;
    let options: serde_json::Value = serde_json::from_str(&options).unwrap();
    let options = &options["publicKey"];
    let known = factors[0].credential.as_ref().unwrap().as_bytes();
    let known = data_encoding::BASE64URL_NOPAD.encode(known);
    assert_eq!(options["rp"]["id"], "gate.example.com");
    assert_eq!(
        options["authenticatorSelection"]["userVerification"],
        "required"
    );
    assert_eq!(
        options["authenticatorSelection"]["residentKey"],
        "preferred"
    );
    assert_eq!(options["attestation"], "none");
    assert_eq!(options["timeout"], 300_000);
    assert_eq!(options["excludeCredentials"].as_array().unwrap().len(), 1);
    assert_eq!(options["excludeCredentials"][0]["id"], known);
    let refused = key.create(&options_of(options)).await;
    assert!(refused.is_err(), "the authenticator has one: {refused:?}");
}

fn options_of(public_key: &serde_json::Value) -> String {
    serde_json::json!({ "publicKey": public_key }).to_string()
}

#[tokio::test]
async fn the_user_handle_says_nothing_of_the_user() {
    let verifier = verifier();
    let handle = async || {
        let (options, _) = Attempt::of("alice").register(&verifier, &[]).await;
        let options: serde_json::Value = serde_json::from_str(&options).unwrap();
        options["publicKey"]["user"]["id"].clone()
    };
    assert_ne!(handle().await, handle().await);
}

#[tokio::test]
async fn a_credential_that_the_user_has_is_not_enrolled_again() {
    let (verifier, key) = (verifier(), SoftwareKey::at(ORIGIN));
    let attempt = Attempt::of("alice");
    // Two enrolments at the same time: the second began before the first was done.
    let (options, state) = attempt.register(&verifier, &[]).await;
    let created = key.create(&options).await.unwrap();
    let first = attempt
        .enrol(&verifier, &[], &state, &created)
        .await
        .unwrap();
    let factors = [Factor::new(&attempt.user, first).record];
    let again = attempt.enrol(&verifier, &factors, &state, &created).await;
    assert!(
        matches!(again, Err(VerifyError::NotEnrollable)),
        "{again:?}"
    );
}

#[tokio::test]
async fn a_credential_without_a_verified_user_is_wrong() {
    let verdict = enrolment_of(&verifier(), vec![7; 32], BACKUP_ELIGIBLE).await;
    assert!(matches!(verdict, Err(VerifyError::Wrong)), "{verdict:?}");
}

#[tokio::test]
async fn a_credential_id_has_at_most_1023_bytes() {
    for (length, is_taken) in [(1, true), (1023, true), (1024, false), (2000, false)] {
        let verdict = enrolment_of(&verifier(), vec![7; length], USER_VERIFIED).await;
        match verdict {
            Ok(credential) => {
                assert!(is_taken, "{length}");
                assert_eq!(credential.id, CredentialId::new(vec![7; length]));
            }
            Err(error) => {
                assert!(!is_taken, "{length}: {error:?}");
                assert!(matches!(error, VerifyError::NotEnrollable), "{error:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_credential_that_is_backed_up_but_not_eligible_is_wrong() {
    let verdict = enrolment_of(&verifier(), vec![7; 32], USER_VERIFIED | BACKED_UP).await;
    assert!(matches!(verdict, Err(VerifyError::Wrong)), "{verdict:?}");
}

#[tokio::test]
async fn synchronised_passkeys_can_be_refused() {
    let strict = WebAuthnVerifier::new(party().device_bound_only()).unwrap();
    for flags in [BACKUP_ELIGIBLE, BACKUP_ELIGIBLE | BACKED_UP] {
        let synced = enrolment_of(&strict, vec![7; 32], USER_VERIFIED | flags).await;
        assert!(
            matches!(synced, Err(VerifyError::NotEnrollable)),
            "{synced:?}"
        );
    }
    let bound = enrolment_of(&strict, vec![7; 32], USER_VERIFIED).await;
    assert!(bound.is_ok(), "{bound:?}");
    // One that was enrolled before is not asked for.
    let key = SoftwareKey::at(ORIGIN);
    let factor = enrolled(&verifier(), "alice", &key).await;
    let attempt = Attempt::of("alice");
    let asked = strict.challenge(&factor.context(&attempt, None)).await;
    assert!(matches!(asked, Err(VerifyError::Backend(_))), "{asked:?}");
}

#[tokio::test]
async fn a_synchronised_passkey_never_counts_as_hardware() {
    let plain = verifier();
    let vouched =
        WebAuthnVerifier::new(party().dangerously_trust_device_bound_as_hardware()).unwrap();
    for (verifier, flags, is_hardware) in [
        (&plain, 0, false),
        (&plain, BACKUP_ELIGIBLE, false),
        (&vouched, 0, true),
        (&vouched, BACKUP_ELIGIBLE, false),
    ] {
        let key = SoftwareKey::at(ORIGIN);
        let factor = enrolled_as(verifier, &key, USER_VERIFIED | flags).await;
        let attempt = Attempt::of("alice");
        let (options, state) = attempt.challenge(verifier, &factor).await;
        let assertion = key.get(&options).await.unwrap();
        let assertion = key
            .forge(&assertion, |signed| {
                signed.flip((BACKUP_ELIGIBLE | BACKED_UP) ^ flags);
            })
            .await;
        let proof = attempt.verify(verifier, &factor, &state, &assertion).await;
        assert_eq!(proof.unwrap().assurance.hardware, is_hardware, "{flags:#b}");
    }
}

#[tokio::test]
async fn a_new_credential_for_one_attempt_is_worth_nothing_in_another() {
    let (verifier, key) = (verifier(), SoftwareKey::at(ORIGIN));
    let (first, second) = (Attempt::of("alice"), Attempt::of("alice"));
    let (options, state) = first.register(&verifier, &[]).await;
    let (_, other) = second.register(&verifier, &[]).await;
    let created = key.create(&options).await.unwrap();
    let relayed = second.enrol(&verifier, &[], &other, &created).await;
    assert!(matches!(relayed, Err(VerifyError::Wrong)), "{relayed:?}");
    let moved = second.enrol(&verifier, &[], &state, &created).await;
    assert!(matches!(moved, Err(VerifyError::Wrong)), "{moved:?}");
}

#[tokio::test]
async fn a_new_credential_is_late_when_its_attempt_is_over() {
    let (verifier, key) = (verifier(), SoftwareKey::at(ORIGIN));
    let mut attempt = Attempt::of("alice");
    let (options, state) = attempt.register(&verifier, &[]).await;
    let created = key.create(&options).await.unwrap();
    attempt.now = EXPIRES;
    let late = attempt.enrol(&verifier, &[], &state, &created).await;
    assert!(matches!(late, Err(VerifyError::Expired)), "{late:?}");
}

#[tokio::test]
async fn a_new_credential_from_elsewhere_or_of_another_shape_is_not_taken() {
    let (verifier, key) = (verifier(), SoftwareKey::at(ORIGIN));
    let attempt = Attempt::of("alice");
    let (options, state) = attempt.register(&verifier, &[]).await;
    let created = key.create(&options).await.unwrap();
    let changes: [(&str, serde_json::Value); 5] = [
        ("origin", "https://gate.example.org".into()),
        ("type", "webauthn.get".into()),
        ("challenge", "A".repeat(43).into()),
        ("crossOrigin", true.into()),
        ("topOrigin", "https://example.org".into()),
    ];
    for (member, value) in changes {
        let mut changed: serde_json::Value = serde_json::from_str(&created).unwrap();
        let response = &mut changed["response"]["clientDataJSON"];
        let codec = data_encoding::BASE64URL_NOPAD;
        let data = codec.decode(response.as_str().unwrap().as_bytes()).unwrap();
        let mut data: serde_json::Value = serde_json::from_slice(&data).unwrap();
        data[member] = value;
        *response = codec.encode(data.to_string().as_bytes()).into();
        let verdict = attempt
            .enrol(&verifier, &[], &state, &changed.to_string())
            .await;
        assert!(
            matches!(verdict, Err(VerifyError::Wrong)),
            "{member}: {verdict:?}"
        );
    }
    for text in ["", "{}", "null"] {
        let verdict = attempt.enrol(&verifier, &[], &state, text).await;
        assert!(matches!(verdict, Err(VerifyError::Unfit)), "{verdict:?}");
    }
    let right = attempt.enrol(&verifier, &[], &state, &created).await;
    assert!(right.is_ok(), "{right:?}");
}

#[tokio::test]
async fn a_record_of_another_version_or_with_more_in_it_does_not_read() {
    let (verifier, key) = (verifier(), SoftwareKey::at(ORIGIN));
    let factor = enrolled(&verifier, "alice", &key).await;
    let text: serde_json::Value = serde_json::from_slice(factor.secret.expose_secret()).unwrap();
    let mut newer = text.clone();
    newer["version"] = 2.into();
    let mut longer = text;
    longer["more"] = true.into();
    for text in [newer, longer] {
        assert!(Record::read(&SecretBytes::new(text.to_string().into_bytes())).is_err());
    }
}
