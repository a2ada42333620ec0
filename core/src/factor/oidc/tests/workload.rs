//! Workloads' tokens.

use super::*;
use crate::key::PublicKey;

async fn desk() -> Desk {
    let mut desk = Desk::open().await;
    let identity = Identity::workload(&desk.provider.issuer(), "alice-at-provider");
    desk.stage.secret = identity.to_secret();
    desk
}

/// Asks for a token: the audience and the nonce that it is to have.
async fn wanted(desk: &mut Desk) -> (String, String) {
    let challenge = desk.ask().await;
    let Challenge::OpenId {
        authorize: None,
        device: false,
        workload: Some(wanted),
        ..
    } = challenge
    else {
        panic!("{challenge:?}")
    };
    (wanted.audience, wanted.nonce)
}

fn bring(token: String) -> Answer {
    Answer::IdToken {
        token: Hidden::new(token).unwrap(),
    }
}

#[tokio::test]
async fn a_token_for_the_attempt_admits_for_as_long_as_it_is_good() {
    let mut desk = desk().await;
    let (audience, nonce) = wanted(&mut desk).await;
    for nonce in [Some(&*nonce), None] {
        let token = bring(desk.provider.workload_token(&audience, nonce));
        let proof = desk.verify(&token).await.unwrap();
        let issued = Timestamp::from_millis(NOW.as_secs() * 1000);
        assert_eq!(proof.assurance.authenticated_at, issued);
        assert_eq!(
            proof.not_after,
            Some(Timestamp::from_millis((NOW.as_secs() + 300) * 1000))
        );
        assert!(!proof.assurance.user_verified && !proof.assurance.phishing_resistant);
    }
}

#[tokio::test]
async fn a_token_for_anything_else_is_wrong() {
    let mut desk = desk().await;
    let (earlier, _) = wanted(&mut desk).await;
    let (audience, nonce) = wanted(&mut desk).await;
    assert_ne!(earlier, audience);
    for (token, why) in [
        (
            desk.provider.workload_token(&earlier, None),
            "another attempt's",
        ),
        (
            desk.provider.workload_token(CLIENT, Some(&nonce)),
            "a person's",
        ),
        (
            desk.provider.workload_token(&audience, Some("x")),
            "another nonce",
        ),
        (String::new(), "nothing"),
        ("a.b.c".to_owned(), "nonsense"),
    ] {
        let verdict = desk.verify(&bring(token)).await;
        assert!(
            matches!(verdict, Err(VerifyError::Wrong)),
            "{why}: {verdict:?}"
        );
    }
    for lie in [
        json!({ "aud": [audience, "friend"], "azp": audience }),
        json!({ "sub": "another workload" }),
        json!({ "iss": "https://evil.example" }),
        json!({ "iat": NOW.as_secs() - 300 }),
    ] {
        desk.provider.acts().lies = lie.clone();
        let token = bring(desk.provider.workload_token(&audience, None));
        let verdict = desk.verify(&token).await;
        assert!(
            matches!(verdict, Err(VerifyError::Wrong)),
            "{lie}: {verdict:?}"
        );
    }
}

#[tokio::test]
async fn a_token_is_for_one_peer_at_one_place() {
    let changes: [fn(&mut Stage); 3] = [
        |stage| stage.attempt = AttemptId::from_bytes([8; 32]),
        |stage| stage.peer = PublicKey::from_bytes([8; 32]),
        |stage| stage.location_key = PublicKey::from_bytes([8; 32]),
    ];
    let mut audiences = std::collections::BTreeSet::new();
    for change in changes {
        let mut desk = desk().await;
        let (audience, _) = wanted(&mut desk).await;
        let token = bring(desk.provider.workload_token(&audience, None));
        audiences.insert(audience);
        change(&mut desk.stage);
        let verdict = desk.verify(&token).await;
        assert!(matches!(verdict, Err(VerifyError::Wrong)), "{verdict:?}");
    }
    assert_eq!(audiences.len(), 3);
}

#[tokio::test]
async fn a_person_does_not_pass_as_a_workload_nor_a_workload_as_a_person() {
    let mut desk = desk().await;
    wanted(&mut desk).await;
    for answer in [
        redirected(BACK, "code=a&state=b"),
        Answer::BeginDeviceGrant {},
    ] {
        let verdict = desk.judge(&answer).await;
        assert!(matches!(verdict, Err(VerifyError::Unfit)), "{verdict:?}");
    }
    let mut desk = Desk::open().await;
    desk.ask().await;
    let token = bring(desk.provider.workload_token(CLIENT, None));
    let verdict = desk.judge(&token).await;
    assert!(matches!(verdict, Err(VerifyError::Unfit)), "{verdict:?}");
}

#[tokio::test]
async fn a_provider_that_is_not_for_workloads_takes_none() {
    let provider = HostileProvider::start(NOW.as_secs()).await;
    let mut config = basic(&provider);
    config.workloads = false;
    let identity = Identity::workload(&provider.issuer(), "alice-at-provider");
    let mut desk = Desk {
        verifier: OidcVerifier::new([config]).unwrap(),
        stage: Stage::new(FactorKind::OIDC, identity.to_secret()),
        provider,
    };
    let error = desk.try_ask().await.unwrap_err();
    assert_eq!(provider_fault(&error), Some(ProviderFault::NoEndpoint));
}
