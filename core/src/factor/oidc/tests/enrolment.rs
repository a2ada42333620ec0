//! Becoming a user's factor: from the client, and by an administrator.

use super::*;

/// Enrols by a login in a browser.
async fn enrol(harness: &mut ProviderHarness) -> Result<Credential, VerifyError> {
    let asked = harness
        .verifier
        .register(&harness.harness.enrolling())
        .await
        .unwrap();
    harness.harness.state = asked.state;
    let query = harness
        .provider
        .browse(&opened(&asked.challenge, BACK))
        .await;
    let answer = redirected(BACK, &query);
    match harness
        .verifier
        .enrol(&harness.harness.enrolling(), &answer)
        .await?
    {
        Registration::Proven(credential) => Ok(credential),
        asked @ Registration::Ask(_) => panic!("{asked:?}"),
    }
}

#[tokio::test]
async fn who_enrols_is_bound_to_the_subject_that_logged_in() {
    let mut harness = ProviderHarness::open().await;
    let credential = enrol(&mut harness).await.unwrap();
    let identity = Identity::subject(&harness.provider.issuer(), "alice-at-provider");
    assert_eq!(credential.id, Some(identity.credential()));
    assert_eq!(credential.secret, identity.to_secret());

    harness.harness.secret = credential.secret;
    harness.admit().await.unwrap();
    harness.provider.acts().claims = json!({ "sub": "mallory-at-provider" });
    let verdict = harness.admit().await;
    assert!(matches!(verdict, Err(VerifyError::Wrong)), "{verdict:?}");
}

#[tokio::test]
async fn a_login_that_would_not_sign_in_does_not_enrol() {
    let mut harness = ProviderHarness::open().await;
    for lie in [json!({ "aud": "another" }), json!({ "nonce": "another" })] {
        harness.provider.acts().lies = lie;
        let verdict = enrol(&mut harness).await;
        assert!(matches!(verdict, Err(VerifyError::Wrong)), "{verdict:?}");
    }
}

#[tokio::test]
async fn an_identity_is_enrolled_once() {
    let mut harness = ProviderHarness::open().await;
    harness.harness.factor.credential = enrol(&mut harness).await.unwrap().id;
    let asked = harness
        .verifier
        .register(&harness.harness.enrolling())
        .await
        .unwrap();
    harness.harness.state = asked.state;
    let query = harness
        .provider
        .browse(&opened(&asked.challenge, BACK))
        .await;
    let known = [harness.harness.factor.clone()];
    let enrolling = Enrolling::new(harness.harness.attempt(), &known);
    let enrolling = enrolling.remembering(harness.harness.state.as_ref());
    let verdict = harness
        .verifier
        .enrol(&enrolling, &redirected(BACK, &query))
        .await;
    assert!(
        matches!(verdict, Err(VerifyError::NotEnrollable)),
        "{verdict:?}"
    );
}

#[tokio::test]
async fn an_address_is_good_once_it_is_verified_and_pins_the_subject() {
    let mut harness = ProviderHarness::open().await;
    let issuer = harness.provider.issuer();
    harness.harness.secret = Identity::email(&issuer, "Alice@Example.com").to_secret();
    for lie in [
        json!({}),
        json!({ "email": "alice@example.com" }),
        json!({ "email": "alice@example.com", "email_verified": false }),
        json!({ "email": "alice@example.org", "email_verified": true }),
        json!({ "email_verified": true }),
    ] {
        harness.provider.acts().lies = lie.clone();
        let verdict = harness.admit().await;
        assert!(
            matches!(verdict, Err(VerifyError::Wrong)),
            "{lie}: {verdict:?}"
        );
    }
    harness.provider.acts().lies = json!({ "email": "alice@example.com", "email_verified": true });
    let proof = harness.admit().await.unwrap();
    let pinned = Identity::subject(&issuer, "alice-at-provider").to_secret();
    assert_eq!(proof.replace_secret.as_ref(), Some(&pinned));
    let subject = Identity::subject(&issuer, "alice-at-provider").credential();
    assert_eq!(proof.credential.as_ref(), Some(&subject));

    harness.harness.secret = pinned;
    harness.provider.acts().lies = json!({});
    let proof = harness.admit().await.unwrap();
    assert_eq!(proof.replace_secret, None);
    assert_eq!(
        proof.credential.as_ref(),
        Some(&subject),
        "it was not set then"
    );
    harness.harness.factor.credential = Some(subject);
    let proof = harness.admit().await.unwrap();
    assert_eq!((proof.replace_secret, proof.credential), (None, None));
    harness.provider.acts().lies =
        json!({ "sub": "mallory", "email": "alice@example.com", "email_verified": true });
    let verdict = harness.admit().await;
    assert!(matches!(verdict, Err(VerifyError::Wrong)), "{verdict:?}");
}

#[test]
fn an_identity_is_itself_only() {
    let of = |issuer: &str, subject: &str| Identity::subject(issuer, subject).credential();
    assert_eq!(
        of("https://a", "b"),
        Identity::workload("https://a", "b").credential()
    );
    assert_ne!(of("https://a", "b"), of("https://ab", ""));
    assert_ne!(of("https://a", "b"), of("https://a", "B"));
    assert_ne!(
        of("https://a", "b@c"),
        Identity::email("https://a", "b@c").credential()
    );
    let email = Identity::email("https://a", "B@c").credential();
    assert_eq!(email, Identity::email("https://a", "b@C").credential());
}

#[test]
fn what_is_kept_reads_back_and_nothing_else_does() {
    for identity in [
        Identity::subject("https://a", "b"),
        Identity::email("https://a", "b@c"),
        Identity::workload("https://a", "b"),
    ] {
        assert_eq!(Identity::read(&identity.to_secret()).unwrap(), identity);
        assert!(!format!("{identity:?}").contains('b'), "{identity:?}");
    }
    for text in [
        r#"{}"#,
        r#"{"version":2,"issuer":"https://a","holder":{"subject":"b"}}"#,
        r#"{"version":1,"issuer":"https://a","holder":{"unknown":"b"}}"#,
        r#"{"version":1,"issuer":"https://a","holder":{"subject":"b"},"more":1}"#,
    ] {
        assert!(
            Identity::read(&SecretBytes::new(text.into())).is_err(),
            "{text}"
        );
    }
}
