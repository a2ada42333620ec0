//! Workloads' tokens.

use super::*;
use crate::key::PublicKey;

async fn harness() -> ProviderHarness {
    let mut harness = ProviderHarness::open().await;
    let identity = Identity::workload(&harness.provider.issuer(), "alice-at-provider");
    harness.harness.secret = identity.to_secret();
    harness
}

/// Asks for a token: the audience and the nonce that it is to have.
async fn wanted(harness: &mut ProviderHarness) -> (String, String) {
    let challenge = harness.ask().await;
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
        token: SecretString::new(token).unwrap(),
    }
}

#[tokio::test]
async fn a_token_for_the_attempt_admits_for_as_long_as_it_is_good() {
    let mut harness = harness().await;
    let (audience, nonce) = wanted(&mut harness).await;
    for nonce in [Some(&*nonce), None] {
        let token = bring(harness.provider.workload_token(&audience, nonce));
        let proof = harness.verify(&token).await.unwrap();
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
    let mut harness = harness().await;
    let (earlier, _) = wanted(&mut harness).await;
    let (audience, nonce) = wanted(&mut harness).await;
    assert_ne!(earlier, audience);
    for (token, why) in [
        (
            harness.provider.workload_token(&earlier, None),
            "another attempt's",
        ),
        (
            harness.provider.workload_token(CLIENT, Some(&nonce)),
            "a person's",
        ),
        (
            harness.provider.workload_token(&audience, Some("x")),
            "another nonce",
        ),
        (String::new(), "nothing"),
        ("a.b.c".to_owned(), "nonsense"),
    ] {
        let verdict = harness.verify(&bring(token)).await;
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
        harness.provider.acts().lies = lie.clone();
        let token = bring(harness.provider.workload_token(&audience, None));
        let verdict = harness.verify(&token).await;
        assert!(
            matches!(verdict, Err(VerifyError::Wrong)),
            "{lie}: {verdict:?}"
        );
    }
}

#[tokio::test]
async fn a_token_is_for_one_peer_at_one_place() {
    let changes: [fn(&mut Harness); 3] = [
        |harness| harness.attempt = AttemptId::from_bytes([8; 32]),
        |harness| harness.peer = PublicKey::from_bytes([8; 32]),
        |harness| harness.location_key = PublicKey::from_bytes([8; 32]),
    ];
    let mut audiences = std::collections::BTreeSet::new();
    for change in changes {
        let mut harness = harness().await;
        let (audience, _) = wanted(&mut harness).await;
        let token = bring(harness.provider.workload_token(&audience, None));
        audiences.insert(audience);
        change(&mut harness.harness);
        let verdict = harness.verify(&token).await;
        assert!(matches!(verdict, Err(VerifyError::Wrong)), "{verdict:?}");
    }
    assert_eq!(audiences.len(), 3);
}

#[tokio::test]
async fn a_person_does_not_pass_as_a_workload_nor_a_workload_as_a_person() {
    let mut harness = harness().await;
    wanted(&mut harness).await;
    for answer in [
        redirected(BACK, "code=a&state=b"),
        Answer::BeginDeviceGrant {},
    ] {
        let verdict = harness.judge(&answer).await;
        assert!(matches!(verdict, Err(VerifyError::Unfit)), "{verdict:?}");
    }
    let mut harness = ProviderHarness::open().await;
    harness.ask().await;
    let token = bring(harness.provider.workload_token(CLIENT, None));
    let verdict = harness.judge(&token).await;
    assert!(matches!(verdict, Err(VerifyError::Unfit)), "{verdict:?}");
}

#[tokio::test]
async fn a_provider_that_is_not_for_workloads_takes_none() {
    let provider = HostileProvider::start(NOW.as_secs()).await;
    let mut config = basic(&provider);
    config.workloads = false;
    let identity = Identity::workload(&provider.issuer(), "alice-at-provider");
    let mut harness = ProviderHarness {
        verifier: OidcVerifier::new([config]).unwrap(),
        harness: Harness::new(FactorKind::OIDC, identity.to_secret()),
        provider,
    };
    let error = harness.try_ask().await.unwrap_err();
    assert_eq!(provider_fault(&error), Some(ProviderFault::NoEndpoint));
}
