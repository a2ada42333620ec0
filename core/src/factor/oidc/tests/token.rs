//! Tokens that lie, each in one way.

use super::*;
use std::time::Duration;

/// What becomes of a login whose token lies like this.
async fn judged(
    harness: &mut ProviderHarness,
    lies: serde_json::Value,
) -> Result<Proof, VerifyError> {
    harness.provider.acts().lies = lies;
    harness.admit().await
}

#[tokio::test]
async fn a_token_with_one_lie_is_wrong() {
    let mut harness = ProviderHarness::open().await;
    let now = NOW.as_secs();
    for lie in [
        json!({ "iss": "https://evil.example" }),
        json!({ "aud": "another-client" }),
        json!({ "aud": [] }),
        json!({ "aud": [CLIENT, "another-client"], "azp": CLIENT }),
        json!({ "azp": "another-client" }),
        json!({ "nonce": "another" }),
        json!({ "nonce": null }),
        json!({ "iat": now + 120 }),
        json!({ "nbf": now + 120 }),
        json!({ "iat": now - 120 }),
        json!({ "auth_time": null }),
        json!({ "auth_time": now - 3600 }),
        json!({ "auth_time": now + 3600 }),
        json!({ "sub": "mallory-at-provider" }),
        json!({ "sub": "" }),
    ] {
        let verdict = judged(&mut harness, lie.clone()).await;
        assert!(
            matches!(verdict, Err(VerifyError::Wrong)),
            "{lie}: {verdict:?}"
        );
    }
    for lie in [json!({ "exp": now }), json!({ "exp": now - 1 })] {
        let verdict = judged(&mut harness, lie.clone()).await;
        assert!(
            matches!(verdict, Err(VerifyError::Expired)),
            "{lie}: {verdict:?}"
        );
    }
    judged(&mut harness, json!({})).await.unwrap();
}

#[tokio::test]
async fn a_token_that_is_not_signed_by_the_provider_is_wrong() {
    for signing in [
        Signing::None,
        Signing::Hs256,
        Signing::Swapped,
        Signing::Tampered,
        Signing::Es256("unknown"),
    ] {
        let mut harness = ProviderHarness::open().await;
        harness.provider.acts().signing = signing;
        let verdict = harness.admit().await;
        assert!(matches!(verdict, Err(VerifyError::Wrong)), "{verdict:?}");
    }
}

#[tokio::test]
async fn a_missing_token_is_the_providers_fault_and_not_the_users() {
    let mut harness = ProviderHarness::open().await;
    harness.provider.acts().signing = Signing::Missing;
    let verdict = harness.admit().await;
    let Err(VerifyError::Backend(error)) = verdict else {
        panic!("{verdict:?}")
    };
    let OidcError(error) = error.downcast_ref().unwrap();
    assert!(
        matches!(error, OidcFault::Token(TokenFault::Missing)),
        "{error:?}"
    );
}

#[tokio::test]
async fn small_differences_of_the_clocks_and_honest_extras_are_taken() {
    let mut harness = ProviderHarness::open().await;
    let now = NOW.as_secs();
    for truth in [
        json!({ "iat": now + 30, "nbf": now + 30 }),
        json!({ "nbf": now - 30 }),
        json!({ "auth_time": now - 240 }),
        json!({ "azp": CLIENT }),
        json!({ "aud": [CLIENT] }),
        json!({ "extra": { "deep": [1, 2] } }),
    ] {
        let verdict = judged(&mut harness, truth.clone()).await;
        assert!(verdict.is_ok(), "{truth}: {verdict:?}");
    }
}

#[tokio::test]
async fn a_trusted_audience_is_taken_with_the_client_authorised() {
    let mut harness = ProviderHarness::open_as(|provider| provider.trust_audience("friend")).await;
    let both = json!({ "aud": [CLIENT, "friend"], "azp": CLIENT });
    judged(&mut harness, both).await.unwrap();
    for lie in [
        json!({ "aud": [CLIENT, "friend"] }),
        json!({ "aud": [CLIENT, "friend"], "azp": "friend" }),
        json!({ "aud": [CLIENT, "friend", "stranger"], "azp": CLIENT }),
        json!({ "aud": ["friend"], "azp": CLIENT }),
    ] {
        let verdict = judged(&mut harness, lie.clone()).await;
        assert!(
            matches!(verdict, Err(VerifyError::Wrong)),
            "{lie}: {verdict:?}"
        );
    }
}

#[tokio::test]
async fn a_class_that_was_asked_for_must_be_there() {
    let mut harness =
        ProviderHarness::open_as(|provider| provider.require_acr("2")?.require_acr("3")).await;
    for lie in [json!({}), json!({ "acr": "1" }), json!({ "acr": "22" })] {
        let verdict = judged(&mut harness, lie.clone()).await;
        assert!(
            matches!(verdict, Err(VerifyError::Wrong)),
            "{lie}: {verdict:?}"
        );
    }
    for acr in ["2", "3"] {
        judged(&mut harness, json!({ "acr": acr })).await.unwrap();
    }
}

#[tokio::test]
async fn a_provider_without_a_time_of_authentication_proves_no_time() {
    let mut harness =
        ProviderHarness::open_as(|provider| Ok(provider.dangerously_of_any_age())).await;
    let proof = judged(&mut harness, json!({ "auth_time": null }))
        .await
        .unwrap();
    assert_eq!(proof.assurance.authenticated_at, Timestamp::from_millis(0));
    let now = NOW.as_secs();
    let old = judged(&mut harness, json!({ "auth_time": now - 86_400 }))
        .await
        .unwrap();
    let then = Timestamp::from_millis((now - 86_400) * 1000);
    assert_eq!(old.assurance.authenticated_at, then);
}

#[tokio::test]
async fn the_words_of_a_provider_prove_what_it_is_trusted_for_and_no_more() {
    let mut harness = ProviderHarness::open_as(|provider| {
        provider
            .amr_proves("mfa", Vouched::UserVerified)?
            .max_age(Duration::from_secs(60))
    })
    .await;
    for (said, is_verified) in [
        (json!({ "amr": ["mfa"] }), true),
        (json!({ "amr": ["pwd"] }), false),
        (json!({ "amr": [] }), false),
        (json!({ "acr": "mfa" }), false),
        (json!({ "amr": ["MFA"] }), false),
    ] {
        let proof = judged(&mut harness, said.clone()).await.unwrap();
        assert_eq!(proof.assurance.user_verified, is_verified, "{said}");
        assert!(!proof.assurance.phishing_resistant, "{said}");
    }
}
