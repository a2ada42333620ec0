//! Signing in: what is proven, and what is not taken.

use super::*;

#[tokio::test]
async fn an_assertion_proves_a_verified_user_and_no_hardware() {
    let (verifier, key) = (verifier(), SoftwareKey::at(ORIGIN));
    let factor = enrolled(&verifier, "alice", &key).await;
    let attempt = Attempt::of("alice");
    let (options, state) = attempt.challenge(&verifier, &factor).await;
    let assertion = key.get(&options).await.unwrap();
    let proof = attempt.verify(&verifier, &factor, &state, &assertion).await;
    let expected = Proof {
        factor: factor.record.id,
        assurance: Assurance {
            kind: FactorKind::WEBAUTHN,
            phishing_resistant: true,
            user_verified: true,
            replay_resistant: true,
            verifier_bound: true,
            hardware: false,
            authenticated_at: NOW,
        },
        counter: None,
        replace_secret: None,
        credential: None,
        not_after: None,
    };
    assert_eq!(proof.unwrap(), expected);
}

#[tokio::test]
async fn options_ask_for_the_credential_a_verified_user_and_in_time() {
    let (verifier, key) = (verifier(), SoftwareKey::at(ORIGIN));
    let factor = enrolled(&verifier, "alice", &key).await;
    let (options, _) = Attempt::of("alice").challenge(&verifier, &factor).await;
    let options: serde_json::Value = serde_json::from_str(&options).unwrap();
    let options = &options["publicKey"];
    let id = factor.record.credential.as_ref().unwrap().as_bytes();
    let id = data_encoding::BASE64URL_NOPAD.encode(id);
    assert_eq!(options["rpId"], "gate.example.com");
    assert_eq!(options["userVerification"], "required");
    assert_eq!(options["allowCredentials"].as_array().unwrap().len(), 1);
    assert_eq!(options["allowCredentials"][0]["id"], id);
    assert_eq!(options["timeout"], 300_000);
}

#[tokio::test]
async fn an_assertion_for_one_attempt_is_wrong_in_another() {
    let (verifier, key) = (verifier(), SoftwareKey::at(ORIGIN));
    let factor = enrolled(&verifier, "alice", &key).await;
    let (first, second) = (Attempt::of("alice"), Attempt::of("alice"));
    let (options, _) = first.challenge(&verifier, &factor).await;
    let (_, state) = second.challenge(&verifier, &factor).await;
    let assertion = key.get(&options).await.unwrap();
    let relayed = second.verify(&verifier, &factor, &state, &assertion).await;
    assert!(matches!(relayed, Err(VerifyError::Wrong)), "{relayed:?}");
}

#[tokio::test]
async fn a_ceremonys_state_serves_no_other_attempt_peer_or_location() {
    let (verifier, key) = (verifier(), SoftwareKey::at(ORIGIN));
    let factor = enrolled(&verifier, "alice", &key).await;
    let attempt = Attempt::of("alice");
    let (options, state) = attempt.challenge(&verifier, &factor).await;
    let assertion = key.get(&options).await.unwrap();
    let other_attempt = Attempt::of("alice");
    let other_peer = Attempt {
        id: attempt.id,
        peer: PublicKey::from_bytes([2; 32]),
        ..Attempt::of("alice")
    };
    let other_key = Attempt {
        id: attempt.id,
        location_key: PublicKey::from_bytes([5; 32]),
        ..Attempt::of("alice")
    };
    let other_location = Attempt {
        id: attempt.id,
        location: "lab".parse().unwrap(),
        ..Attempt::of("alice")
    };
    for other in [other_attempt, other_peer, other_location, other_key] {
        let moved = other.verify(&verifier, &factor, &state, &assertion).await;
        assert!(matches!(moved, Err(VerifyError::Wrong)), "{moved:?}");
    }
    let unasked = Answer::WebAuthn {
        credential: SecretString::new(assertion.clone()).unwrap(),
    };
    let unasked = verifier
        .verify(&factor.context(&attempt, None), &unasked)
        .await;
    assert!(
        matches!(unasked, Err(VerifyError::Backend(_))),
        "{unasked:?}"
    );
    let right = attempt.verify(&verifier, &factor, &state, &assertion).await;
    assert!(right.is_ok(), "{right:?}");
}

#[tokio::test]
async fn an_assertion_is_late_when_its_attempt_is_over() {
    let (verifier, key) = (verifier(), SoftwareKey::at(ORIGIN));
    let factor = enrolled(&verifier, "alice", &key).await;
    let mut attempt = Attempt::of("alice");
    let (options, state) = attempt.challenge(&verifier, &factor).await;
    let assertion = key.get(&options).await.unwrap();
    attempt.now = EXPIRES;
    let late = attempt.verify(&verifier, &factor, &state, &assertion).await;
    assert!(matches!(late, Err(VerifyError::Expired)), "{late:?}");
}

#[tokio::test]
async fn another_users_credential_is_wrong() {
    let verifier = verifier();
    let (hers, his) = (SoftwareKey::at(ORIGIN), SoftwareKey::at(ORIGIN));
    let alices = enrolled(&verifier, "alice", &hers).await;
    let bobs = enrolled(&verifier, "bob", &his).await;
    let (attempt, other) = (Attempt::of("alice"), Attempt::of("bob"));
    let (asked_of_bob, _) = other.challenge(&verifier, &bobs).await;
    let (asked_of_alice, state) = attempt.challenge(&verifier, &alices).await;
    // His key answers the question that she was asked.
    let challenge = |options: &str| -> serde_json::Value {
        let options: serde_json::Value = serde_json::from_str(options).unwrap();
        options["publicKey"]["challenge"].clone()
    };
    let asked = challenge(&asked_of_alice);
    let his_own = his.get(&asked_of_bob).await.unwrap();
    let forged = his
        .forge(&his_own, |signed| signed.client_data["challenge"] = asked)
        .await;
    let refused = attempt.verify(&verifier, &alices, &state, &forged).await;
    assert!(matches!(refused, Err(VerifyError::Wrong)), "{refused:?}");
}

#[tokio::test]
async fn any_bit_changed_in_any_part_is_wrong() {
    let (verifier, key) = (verifier(), SoftwareKey::at(ORIGIN).counting());
    let factor = enrolled(&verifier, "alice", &key).await;
    let attempt = Attempt::of("alice");
    let (options, state) = attempt.challenge(&verifier, &factor).await;
    let assertion = key.get(&options).await.unwrap();
    for member in [
        "clientDataJSON",
        "authenticatorData",
        "signature",
        "userHandle",
    ] {
        // Every bit of the short parts; of all, one in each byte.
        for bit in 0..passkey::bits(&assertion, member) {
            if bit % 8 != (bit / 8) % 8 {
                continue;
            }
            let changed = passkey::with_a_bit_changed(&assertion, member, bit);
            let verdict = attempt.verify(&verifier, &factor, &state, &changed).await;
            assert!(
                matches!(verdict, Err(VerifyError::Wrong)),
                "{member}, bit {bit}: {verdict:?}"
            );
        }
    }
    let right = attempt.verify(&verifier, &factor, &state, &assertion).await;
    assert!(right.is_ok(), "{right:?}");
}

#[tokio::test]
async fn an_answer_of_another_shape_is_unfit() {
    let (verifier, key) = (verifier(), SoftwareKey::at(ORIGIN));
    let factor = enrolled(&verifier, "alice", &key).await;
    let attempt = Attempt::of("alice");
    let (_, state) = attempt.challenge(&verifier, &factor).await;
    for text in ["", "{}", "[]", "{\"id\":\"\"}"] {
        let verdict = attempt.verify(&verifier, &factor, &state, text).await;
        assert!(
            matches!(verdict, Err(VerifyError::Unfit)),
            "{text}: {verdict:?}"
        );
    }
    let code = Answer::Code {
        code: "123456".parse().unwrap(),
    };
    let context = factor.context(&attempt, Some(&state));
    let verdict = verifier.verify(&context, &code).await;
    assert!(matches!(verdict, Err(VerifyError::Unfit)), "{verdict:?}");
}

#[tokio::test]
async fn a_page_or_app_of_any_configured_origin_may_answer() {
    let party = party()
        .origin("https://login.gate.example.com:8443")
        .unwrap();
    let verifier = WebAuthnVerifier::new(party).unwrap();
    let home = SoftwareKey::at(ORIGIN);
    let factor = enrolled(&verifier, "alice", &home).await;
    let android = format!("android:apk-key-hash:{}", "A".repeat(43));
    for (origin, is_right) in [
        ("https://login.gate.example.com:8443", true),
        (ORIGIN, true),
        ("https://login.gate.example.com", false),
        ("https://other.gate.example.com", false),
        ("https://gate.example.com/path", false),
        ("https://gate.example.com:444", false),
        ("http://gate.example.com", false),
        ("https://gate.example.org", false),
        (android.as_str(), false),
        ("null", false),
    ] {
        let attempt = Attempt::of("alice");
        let (options, state) = attempt.challenge(&verifier, &factor).await;
        let assertion = home.get(&options).await.unwrap();
        let from = home
            .forge(&assertion, |signed| {
                signed.client_data["origin"] = origin.into()
            })
            .await;
        let verdict = attempt.verify(&verifier, &factor, &state, &from).await;
        assert_eq!(verdict.is_ok(), is_right, "{origin}: {verdict:?}");
    }
    let app = WebAuthnVerifier::new(self::party().origin(&android).unwrap()).unwrap();
    let attempt = Attempt::of("alice");
    let (options, state) = attempt.challenge(&app, &factor).await;
    let assertion = home.get(&options).await.unwrap();
    let from = home
        .forge(&assertion, |signed| {
            signed.client_data["origin"] = android.into()
        })
        .await;
    assert!(attempt.verify(&app, &factor, &state, &from).await.is_ok());
}
