//! What a provider says of itself, and how often it is asked.

use super::*;
use crate::oidc_provider::metadata_of;
use std::sync::Arc;
use std::time::Duration;

const METADATA: &str = "/.well-known/openid-configuration";

#[tokio::test]
async fn a_provider_that_is_not_as_it_should_be_is_not_used() {
    let elsewhere = HostileProvider::start(NOW.as_secs()).await;
    let to = format!("{}{METADATA}", elsewhere.issuer());
    let of_another = metadata_of(&elsewhere.issuer()).to_string();
    for (path, instead, fault) in [
        (
            METADATA,
            Instead::Redirect(to.clone()),
            ProviderFault::Redirects,
        ),
        (METADATA, Instead::Endless, ProviderFault::TooLong),
        (
            METADATA,
            Instead::Says(200, of_another),
            ProviderFault::OtherIssuer,
        ),
        (
            METADATA,
            Instead::Says(200, "{}".to_owned()),
            ProviderFault::Malformed,
        ),
        (
            METADATA,
            Instead::Says(404, "{}".to_owned()),
            ProviderFault::Failed,
        ),
        ("/jwks", Instead::Redirect(to), ProviderFault::Redirects),
        ("/jwks", Instead::Endless, ProviderFault::TooLong),
        (
            "/jwks",
            Instead::Says(200, "[]".to_owned()),
            ProviderFault::Malformed,
        ),
    ] {
        let mut harness = ProviderHarness::open().await;
        harness.provider.acts().instead.insert(path, instead);
        let error = harness.try_ask().await.unwrap_err();
        assert_eq!(provider_fault(&error), Some(fault), "{path}: {error:?}");
    }
    assert_eq!(elsewhere.asked(METADATA), 0, "redirects are not followed");
}

#[tokio::test]
async fn a_provider_may_not_name_an_address_without_tls_elsewhere() {
    for name in [
        "authorization_endpoint",
        "token_endpoint",
        "device_authorization_endpoint",
    ] {
        let mut harness = ProviderHarness::open().await;
        harness.provider.acts().metadata = json!({ name: "http://id.example.com/x" });
        let error = harness.try_ask().await.unwrap_err();
        assert_eq!(
            provider_fault(&error),
            Some(ProviderFault::Insecure),
            "{name}"
        );
    }
}

#[tokio::test]
async fn many_at_once_ask_the_provider_once() {
    let harness = ProviderHarness::open().await;
    let mut all = tokio::task::JoinSet::new();
    let verifier = Arc::new(OidcVerifier::new([basic(&harness.provider)]).unwrap());
    for _ in 0..50 {
        let (verifier, secret) = (Arc::clone(&verifier), harness.harness.secret.clone());
        all.spawn(async move {
            let harness = Harness::new(FactorKind::OIDC, secret);
            verifier.challenge(&harness.context()).await.is_ok()
        });
    }
    assert!(all.join_all().await.into_iter().all(|is_ok| is_ok));
    assert_eq!(harness.provider.asked(METADATA), 1);
    assert_eq!(harness.provider.asked("/jwks"), 1);
}

#[tokio::test]
async fn what_is_known_is_known_for_an_hour() {
    let mut harness = ProviderHarness::open().await;
    harness.ask().await;
    harness.harness.now = NOW + Duration::from_secs(3599);
    harness.ask().await;
    assert_eq!(harness.provider.asked(METADATA), 1);
    harness.harness.now = NOW + Duration::from_secs(3600);
    harness.ask().await;
    assert_eq!(harness.provider.asked(METADATA), 2);
    harness.harness.now = NOW;
    harness.ask().await;
    assert_eq!(
        harness.provider.asked(METADATA),
        3,
        "a clock that was set back knows nothing"
    );
}

#[tokio::test]
async fn a_failure_is_remembered_for_a_moment_and_then_tried_again() {
    let mut harness = ProviderHarness::open().await;
    let broken = Instead::Says(500, "{}".to_owned());
    harness.provider.acts().instead.insert(METADATA, broken);
    for _ in 0..3 {
        let error = harness.try_ask().await.unwrap_err();
        assert_eq!(provider_fault(&error), Some(ProviderFault::Failed));
    }
    assert_eq!(harness.provider.asked(METADATA), 1);
    harness.provider.acts().instead.clear();
    harness.harness.now = NOW + Duration::from_secs(5);
    harness.ask().await;
}

/// So many seconds on, in an attempt of that time.
fn at(harness: &mut ProviderHarness, seconds: u64) {
    harness.harness.now = NOW + Duration::from_secs(seconds);
    harness.harness.expires = harness.harness.now + Duration::from_secs(300);
    harness.provider.acts().now = harness.harness.now.as_secs();
}

#[tokio::test]
async fn an_unknown_key_is_fetched_once_and_not_again_and_again() {
    let mut harness = ProviderHarness::open().await;
    harness.admit().await.unwrap();
    harness.provider.acts().signing = Signing::Es256("two");
    harness.provider.acts().published = vec!["one", "two"];
    let too_soon = harness.admit().await;
    assert!(matches!(too_soon, Err(VerifyError::Wrong)), "{too_soon:?}");
    assert_eq!(harness.provider.asked("/jwks"), 1);

    at(&mut harness, 30);
    harness.admit().await.unwrap();
    assert_eq!(harness.provider.asked("/jwks"), 2);

    harness.provider.acts().signing = Signing::Es256("three");
    at(&mut harness, 60);
    for _ in 0..3 {
        let unknown = harness.admit().await;
        assert!(matches!(unknown, Err(VerifyError::Wrong)), "{unknown:?}");
    }
    assert_eq!(harness.provider.asked("/jwks"), 3);

    harness.provider.acts().published = vec!["two"];
    harness.provider.acts().signing = Signing::Es256("one");
    at(&mut harness, 90);
    harness.admit().await.unwrap();
    at(&mut harness, 3700);
    let withdrawn = harness.admit().await;
    assert!(
        matches!(withdrawn, Err(VerifyError::Wrong)),
        "{withdrawn:?}"
    );
}

#[tokio::test]
async fn a_slow_provider_holds_up_nobody_elses_logins() {
    let slow = HostileProvider::start(NOW.as_secs()).await;
    let mut harness = ProviderHarness::open().await;
    let hour = Instead::Slow(Duration::from_secs(3600));
    slow.acts().instead.insert(METADATA, hour);
    let both = [basic(&slow), basic(&harness.provider)];
    let verifier = Arc::new(OidcVerifier::new(both).unwrap());
    let secret = Identity::subject(&slow.issuer(), "bob").to_secret();
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let (verifier, secret) = (Arc::clone(&verifier), secret.clone());
            tokio::spawn(async move {
                let harness = Harness::new(FactorKind::OIDC, secret);
                verifier.challenge(&harness.context()).await
            })
        })
        .collect();
    while slow.asked(METADATA) == 0 {
        tokio::task::yield_now().await;
    }
    let asked = verifier
        .challenge(&harness.harness.context())
        .await
        .unwrap();
    let query = harness
        .provider
        .browse(&opened(&asked.challenge, BACK))
        .await;
    harness.harness.state = asked.state;
    let judged = verifier
        .verify(&harness.harness.context(), &redirected(BACK, &query))
        .await;
    judged.unwrap();
    for waiting in waiting {
        let error = waiting.await.unwrap().unwrap_err();
        assert_eq!(
            provider_fault(&error),
            Some(ProviderFault::TimedOut),
            "{error:?}"
        );
    }
    assert_eq!(slow.asked(METADATA), 1, "all of them wait for one answer");
}

#[tokio::test]
async fn a_provider_that_is_gone_can_not_be_reached() {
    let mut harness = ProviderHarness::open().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let unknown = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let config = OidcProvider::dangerously_without_tls(&unknown, CLIENT).unwrap();
    harness.verifier = OidcVerifier::new([config.device_grant()]).unwrap();
    harness.harness.secret = Identity::subject(&unknown, "alice").to_secret();
    let error = harness.try_ask().await.unwrap_err();
    assert_eq!(provider_fault(&error), Some(ProviderFault::Unreachable));
}

#[tokio::test]
async fn an_identity_at_a_provider_that_is_not_configured_is_not_judged() {
    let mut harness = ProviderHarness::open().await;
    harness.harness.secret = Identity::subject("https://id.example.com", "alice").to_secret();
    let error = harness.try_ask().await.unwrap_err();
    let VerifyError::Backend(error) = error else {
        panic!("{error:?}")
    };
    let OidcError(error) = error.downcast_ref().unwrap();
    assert!(
        matches!(error, OidcFault::UnknownIssuer { .. }),
        "{error:?}"
    );
}
