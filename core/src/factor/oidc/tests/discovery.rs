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
        let mut desk = Desk::open().await;
        desk.provider.acts().instead.insert(path, instead);
        let error = desk.try_ask().await.unwrap_err();
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
        let mut desk = Desk::open().await;
        desk.provider.acts().metadata = json!({ name: "http://id.example.com/x" });
        let error = desk.try_ask().await.unwrap_err();
        assert_eq!(
            provider_fault(&error),
            Some(ProviderFault::Insecure),
            "{name}"
        );
    }
}

#[tokio::test]
async fn many_at_once_ask_the_provider_once() {
    let desk = Desk::open().await;
    let mut all = tokio::task::JoinSet::new();
    let verifier = Arc::new(OidcVerifier::new([basic(&desk.provider)]).unwrap());
    for _ in 0..50 {
        let (verifier, secret) = (Arc::clone(&verifier), desk.stage.secret.clone());
        all.spawn(async move {
            let stage = Stage::new(FactorKind::OIDC, secret);
            verifier.challenge(&stage.context()).await.is_ok()
        });
    }
    assert!(all.join_all().await.into_iter().all(|is_ok| is_ok));
    assert_eq!(desk.provider.asked(METADATA), 1);
    assert_eq!(desk.provider.asked("/jwks"), 1);
}

#[tokio::test]
async fn what_is_known_is_known_for_an_hour() {
    let mut desk = Desk::open().await;
    desk.ask().await;
    desk.stage.now = NOW + Duration::from_secs(3599);
    desk.ask().await;
    assert_eq!(desk.provider.asked(METADATA), 1);
    desk.stage.now = NOW + Duration::from_secs(3600);
    desk.ask().await;
    assert_eq!(desk.provider.asked(METADATA), 2);
    desk.stage.now = NOW;
    desk.ask().await;
    assert_eq!(
        desk.provider.asked(METADATA),
        3,
        "a clock that was set back knows nothing"
    );
}

#[tokio::test]
async fn a_failure_is_remembered_for_a_moment_and_then_tried_again() {
    let mut desk = Desk::open().await;
    let broken = Instead::Says(500, "{}".to_owned());
    desk.provider.acts().instead.insert(METADATA, broken);
    for _ in 0..3 {
        let error = desk.try_ask().await.unwrap_err();
        assert_eq!(provider_fault(&error), Some(ProviderFault::Failed));
    }
    assert_eq!(desk.provider.asked(METADATA), 1);
    desk.provider.acts().instead.clear();
    desk.stage.now = NOW + Duration::from_secs(5);
    desk.ask().await;
}

/// So many seconds on, in an attempt of that time.
fn at(desk: &mut Desk, seconds: u64) {
    desk.stage.now = NOW + Duration::from_secs(seconds);
    desk.stage.expires = desk.stage.now + Duration::from_secs(300);
    desk.provider.acts().now = desk.stage.now.as_secs();
}

#[tokio::test]
async fn a_new_key_is_fetched_and_an_unknown_one_does_not_have_the_provider_asked_again_and_again()
{
    let mut desk = Desk::open().await;
    desk.admit().await.unwrap();
    desk.provider.acts().signing = Signing::Es256("two");
    desk.provider.acts().published = vec!["one", "two"];
    let too_soon = desk.admit().await;
    assert!(matches!(too_soon, Err(VerifyError::Wrong)), "{too_soon:?}");
    assert_eq!(desk.provider.asked("/jwks"), 1);

    at(&mut desk, 30);
    desk.admit().await.unwrap();
    assert_eq!(desk.provider.asked("/jwks"), 2);

    desk.provider.acts().signing = Signing::Es256("three");
    at(&mut desk, 60);
    for _ in 0..3 {
        let unknown = desk.admit().await;
        assert!(matches!(unknown, Err(VerifyError::Wrong)), "{unknown:?}");
    }
    assert_eq!(desk.provider.asked("/jwks"), 3);

    desk.provider.acts().published = vec!["two"];
    desk.provider.acts().signing = Signing::Es256("one");
    at(&mut desk, 90);
    desk.admit().await.unwrap();
    at(&mut desk, 3700);
    let withdrawn = desk.admit().await;
    assert!(
        matches!(withdrawn, Err(VerifyError::Wrong)),
        "{withdrawn:?}"
    );
}

#[tokio::test]
async fn a_slow_provider_holds_up_nobody_elses_logins() {
    let slow = HostileProvider::start(NOW.as_secs()).await;
    let mut desk = Desk::open().await;
    let hour = Instead::Slow(Duration::from_secs(3600));
    slow.acts().instead.insert(METADATA, hour);
    let both = [basic(&slow), basic(&desk.provider)];
    let verifier = Arc::new(OidcVerifier::new(both).unwrap());
    let secret = Identity::subject(&slow.issuer(), "bob").to_secret();
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let (verifier, secret) = (Arc::clone(&verifier), secret.clone());
            tokio::spawn(async move {
                let stage = Stage::new(FactorKind::OIDC, secret);
                verifier.challenge(&stage.context()).await
            })
        })
        .collect();
    while slow.asked(METADATA) == 0 {
        tokio::task::yield_now().await;
    }
    let asked = verifier.challenge(&desk.stage.context()).await.unwrap();
    let query = desk.provider.browse(&opened(&asked.challenge, BACK)).await;
    desk.stage.state = asked.state;
    let judged = verifier
        .verify(&desk.stage.context(), &redirected(BACK, &query))
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
    let mut desk = Desk::open().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let config = OidcProvider::dangerously_without_tls(&nobody, CLIENT).unwrap();
    desk.verifier = OidcVerifier::new([config.device_grant()]).unwrap();
    desk.stage.secret = Identity::subject(&nobody, "alice").to_secret();
    let error = desk.try_ask().await.unwrap_err();
    assert_eq!(provider_fault(&error), Some(ProviderFault::Unreachable));
}

#[tokio::test]
async fn an_identity_at_a_provider_that_is_not_configured_is_not_judged() {
    let mut desk = Desk::open().await;
    desk.stage.secret = Identity::subject("https://id.example.com", "alice").to_secret();
    let error = desk.try_ask().await.unwrap_err();
    let VerifyError::Backend(error) = error else {
        panic!("{error:?}")
    };
    let error = error.downcast_ref::<OidcError>().unwrap();
    assert!(
        matches!(error, OidcError::UnknownIssuer { .. }),
        "{error:?}"
    );
}
