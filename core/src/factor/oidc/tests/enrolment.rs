//! Becoming a user's factor: from the client, and by an administrator.

use super::*;

/// Enrols by a login in a browser.
async fn enrol(desk: &mut Desk) -> Result<Credential, VerifyError> {
    let asked = desk
        .verifier
        .register(&desk.stage.enrolling())
        .await
        .unwrap();
    desk.stage.state = asked.state;
    let query = desk.provider.browse(&opened(&asked.challenge, BACK)).await;
    let answer = redirected(BACK, &query);
    match desk
        .verifier
        .enrol(&desk.stage.enrolling(), &answer)
        .await?
    {
        Registration::Proven(credential) => Ok(credential),
        asked @ Registration::Ask(_) => panic!("{asked:?}"),
    }
}

#[tokio::test]
async fn who_enrols_is_bound_to_the_subject_that_logged_in() {
    let mut desk = Desk::open().await;
    let credential = enrol(&mut desk).await.unwrap();
    let identity = Identity::subject(&desk.provider.issuer(), "alice-at-provider");
    assert_eq!(credential.id, Some(identity.credential()));
    assert_eq!(credential.secret, identity.to_secret());

    desk.stage.secret = credential.secret;
    desk.admit().await.unwrap();
    desk.provider.acts().claims = json!({ "sub": "mallory-at-provider" });
    let verdict = desk.admit().await;
    assert!(matches!(verdict, Err(VerifyError::Wrong)), "{verdict:?}");
}

#[tokio::test]
async fn a_login_that_would_not_sign_in_does_not_enrol() {
    let mut desk = Desk::open().await;
    for lie in [json!({ "aud": "another" }), json!({ "nonce": "another" })] {
        desk.provider.acts().lies = lie;
        let verdict = enrol(&mut desk).await;
        assert!(matches!(verdict, Err(VerifyError::Wrong)), "{verdict:?}");
    }
}

#[tokio::test]
async fn an_identity_is_enrolled_once() {
    let mut desk = Desk::open().await;
    desk.stage.factor.credential = enrol(&mut desk).await.unwrap().id;
    let asked = desk
        .verifier
        .register(&desk.stage.enrolling())
        .await
        .unwrap();
    desk.stage.state = asked.state;
    let query = desk.provider.browse(&opened(&asked.challenge, BACK)).await;
    let known = [desk.stage.factor.clone()];
    let enrolling = Enrolling::new(desk.stage.scene(), &known);
    let enrolling = enrolling.remembering(desk.stage.state.as_ref());
    let verdict = desk
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
    let mut desk = Desk::open().await;
    let issuer = desk.provider.issuer();
    desk.stage.secret = Identity::email(&issuer, "Alice@Example.com").to_secret();
    for lie in [
        json!({}),
        json!({ "email": "alice@example.com" }),
        json!({ "email": "alice@example.com", "email_verified": false }),
        json!({ "email": "alice@example.org", "email_verified": true }),
        json!({ "email_verified": true }),
    ] {
        desk.provider.acts().lies = lie.clone();
        let verdict = desk.admit().await;
        assert!(
            matches!(verdict, Err(VerifyError::Wrong)),
            "{lie}: {verdict:?}"
        );
    }
    desk.provider.acts().lies = json!({ "email": "alice@example.com", "email_verified": true });
    let proof = desk.admit().await.unwrap();
    let pinned = Identity::subject(&issuer, "alice-at-provider").to_secret();
    assert_eq!(proof.update.as_ref(), Some(&pinned));
    let subject = Identity::subject(&issuer, "alice-at-provider").credential();
    assert_eq!(proof.credential.as_ref(), Some(&subject));

    desk.stage.secret = pinned;
    desk.provider.acts().lies = json!({});
    let proof = desk.admit().await.unwrap();
    assert_eq!(proof.update, None);
    assert_eq!(
        proof.credential.as_ref(),
        Some(&subject),
        "it was not set then"
    );
    desk.stage.factor.credential = Some(subject);
    let proof = desk.admit().await.unwrap();
    assert_eq!((proof.update, proof.credential), (None, None));
    desk.provider.acts().lies =
        json!({ "sub": "mallory", "email": "alice@example.com", "email_verified": true });
    let verdict = desk.admit().await;
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
        r#"{"version":1,"issuer":"https://a","holder":{"nobody":"b"}}"#,
        r#"{"version":1,"issuer":"https://a","holder":{"subject":"b"},"more":1}"#,
    ] {
        assert!(Identity::read(&Secret::new(text.into())).is_err(), "{text}");
    }
}
