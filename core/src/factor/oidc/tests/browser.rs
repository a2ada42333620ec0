//! The authorisation code, and what comes back with it.

use super::*;
use crate::key::PublicKey;
use std::time::Duration;

#[tokio::test]
async fn a_login_in_a_browser_is_a_proof_of_what_the_provider_vouches_for() {
    let vouching = |provider: OidcProvider| {
        provider
            .amr_proves("mfa", Vouched::UserVerified)?
            .acr_proves("phr", Vouched::PhishingResistant)
    };
    let mut harness = ProviderHarness::open_as(vouching).await;
    let plain = harness.admit().await.unwrap();
    assert_eq!(plain.factor, harness.harness.factor.id);
    assert_eq!(
        plain.assurance.authenticated_at,
        Timestamp::from_millis(NOW.as_secs() * 1000)
    );
    assert!(!plain.assurance.user_verified && !plain.assurance.phishing_resistant);
    assert!(plain.assurance.replay_resistant && !plain.assurance.verifier_bound);
    assert_eq!((plain.replace_secret, plain.not_after), (None, None));

    harness.provider.acts().lies = json!({ "amr": ["pwd", "mfa"], "acr": "phr" });
    let strong = harness.admit().await.unwrap();
    assert!(strong.assurance.user_verified && strong.assurance.phishing_resistant);
}

#[tokio::test]
async fn a_code_admits_once() {
    let mut harness = ProviderHarness::open().await;
    let answer = harness.log_in().await;
    harness.verify(&answer).await.unwrap();
    let again = harness.verify(&answer).await;
    assert!(matches!(again, Err(VerifyError::Wrong)), "{again:?}");
}

#[tokio::test]
async fn a_login_is_bound_to_its_attempt_peer_and_location() {
    let changes: [fn(&mut Harness); 3] = [
        |harness| harness.attempt = AttemptId::from_bytes([8; 32]),
        |harness| harness.peer = PublicKey::from_bytes([8; 32]),
        |harness| harness.location_key = PublicKey::from_bytes([8; 32]),
    ];
    for change in changes {
        let mut harness = ProviderHarness::open().await;
        let answer = harness.log_in().await;
        change(&mut harness.harness);
        let verdict = harness.verify(&answer).await;
        assert!(matches!(verdict, Err(VerifyError::Wrong)), "{verdict:?}");
        assert_eq!(harness.provider.asked("/token"), 0);
    }
}

#[tokio::test]
async fn a_login_of_another_attempt_does_not_fit_this_ones_state() {
    let mut harness = ProviderHarness::open().await;
    let first = harness.log_in().await;
    harness.ask().await;
    let verdict = harness.verify(&first).await;
    assert!(matches!(verdict, Err(VerifyError::Wrong)), "{verdict:?}");
    assert_eq!(harness.provider.asked("/token"), 0, "no code leaves for it");
}

#[tokio::test]
async fn a_login_that_comes_after_the_attempt_is_late() {
    let mut harness = ProviderHarness::open().await;
    let answer = harness.log_in().await;
    harness.harness.now = harness.harness.expires;
    let verdict = harness.verify(&answer).await;
    assert!(matches!(verdict, Err(VerifyError::Expired)), "{verdict:?}");
}

#[tokio::test]
async fn a_browser_may_come_back_only_where_it_was_sent() {
    let mut harness = ProviderHarness::open_as(|provider| {
        provider.redirect(Redirect::Exact {
            uri: "com.example.app:/back".to_owned(),
        })
    })
    .await;
    for good in [
        "http://127.0.0.1:1/callback",
        "http://[::1]:65535/callback",
        "com.example.app:/back",
    ] {
        let answer = harness.log_in_at(good).await;
        harness.verify(&answer).await.unwrap();
    }
    let before = harness.provider.asked("/token");
    for bad in [
        "http://127.0.0.1:1/callback/",
        "http://127.0.0.1:1/callback?a=b",
        "http://127.0.0.1:1/callback#a",
        "http://127.0.0.1:1//callback",
        "http://127.0.0.1:1/x/../callback",
        "http://localhost:1/callback",
        "http://127.0.0.2:1/callback",
        "http://127.0.0.1@evil.example/callback",
        "http://user@127.0.0.1:1/callback",
        "https://127.0.0.1:1/callback",
        "http://evil.example/callback",
        "com.example.app:/back/",
        "com.example.app:/Back",
        "",
    ] {
        let Answer::Redirected { query, .. } = harness.log_in().await else {
            panic!("a redirect")
        };
        let verdict = harness
            .verify(&redirected(bad, query.expose_secret()))
            .await;
        assert!(
            matches!(verdict, Err(VerifyError::Wrong)),
            "{bad}: {verdict:?}"
        );
    }
    assert_eq!(harness.provider.asked("/token"), before);
}

#[tokio::test]
async fn a_return_needs_the_logins_state_code_and_issuer() {
    let mut harness = ProviderHarness::open().await;
    let Answer::Redirected { query, .. } = harness.log_in().await else {
        panic!("a redirect")
    };
    let right: Vec<(String, String)> =
        url::form_urlencoded::parse(query.expose_secret().as_bytes())
            .into_owned()
            .collect();
    let encoded = |pairs: &[(String, String)]| {
        url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(pairs)
            .finish()
    };
    let mut wrong = vec![
        String::new(),
        format!("{}&error=server_error", encoded(&right)),
    ];
    for at in 0..right.len() {
        let mut without = right.clone();
        let taken = without.remove(at);
        wrong.push(encoded(&without));
        without.push((taken.0.clone(), format!("{}x", taken.1)));
        if taken.0 != "code" {
            wrong.push(encoded(&without));
        }
        let twice = [right.clone(), vec![taken]].concat();
        wrong.push(encoded(&twice));
    }
    for query in wrong {
        let verdict = harness.verify(&redirected(BACK, &query)).await;
        assert!(
            matches!(verdict, Err(VerifyError::Wrong)),
            "{query}: {verdict:?}"
        );
    }
    assert_eq!(harness.provider.asked("/token"), 0);
    let with_more = format!("{}&session_state=x", encoded(&right));
    harness.verify(&redirected(BACK, &with_more)).await.unwrap();
}

#[tokio::test]
async fn an_issuer_need_not_name_itself_on_the_way_back() {
    let mut harness = ProviderHarness::open().await;
    harness.provider.acts().metadata =
        json!({ "authorization_response_iss_parameter_supported": null });
    let Answer::Redirected { query, .. } = harness.log_in().await else {
        panic!("a redirect")
    };
    let (rest, _) = query.expose_secret().split_once("&iss=").unwrap();
    harness.verify(&redirected(BACK, rest)).await.unwrap();
}

#[tokio::test]
async fn an_answer_of_another_kind_is_unfit() {
    let mut harness = ProviderHarness::open().await;
    harness.ask().await;
    for answer in [
        Answer::Poll {},
        Answer::Password {
            password: SecretString::new("x".to_owned()).unwrap(),
        },
        Answer::IdToken {
            token: SecretString::new("x".to_owned()).unwrap(),
        },
    ] {
        let verdict = harness.judge(&answer).await;
        assert!(matches!(verdict, Err(VerifyError::Unfit)), "{verdict:?}");
    }
}

#[tokio::test]
async fn a_provider_is_asked_for_what_is_required() {
    let mut harness = ProviderHarness::open_as(|provider| {
        provider
            .max_age(Duration::from_secs(90))?
            .scope("email")?
            .require_acr("2")
    })
    .await;
    let url = url::Url::parse(&opened(&harness.ask().await, BACK)).unwrap();
    let asked: std::collections::BTreeMap<_, _> = url.query_pairs().collect();
    assert_eq!(asked["scope"], "openid email");
    assert_eq!(asked["max_age"], "90");
    assert_eq!(asked["acr_values"], "2");
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&asked["claims"]).unwrap(),
        json!({ "id_token": { "acr": { "essential": true, "values": ["2"] } } })
    );
    for random in ["state", "nonce", "code_challenge"] {
        assert_eq!(asked[random].len(), 43, "{random}");
    }
    let again = url::Url::parse(&opened(&harness.ask().await, BACK)).unwrap();
    let again: std::collections::BTreeMap<_, _> = again.query_pairs().collect();
    for random in ["state", "nonce", "code_challenge"] {
        assert_ne!(asked[random], again[random], "{random}");
    }
}

#[tokio::test]
async fn a_redirecting_slow_or_broken_token_endpoint_is_at_fault() {
    let elsewhere = HostileProvider::start(NOW.as_secs()).await;
    let to = format!("{}/token", elsewhere.issuer());
    for (instead, fault) in [
        (Instead::Redirect(to), ProviderFault::Redirects),
        (Instead::Endless, ProviderFault::TooLong),
        (Instead::Says(200, "{".to_owned()), ProviderFault::Malformed),
        (
            Instead::Says(500, "{}".to_owned()),
            ProviderFault::Malformed,
        ),
        (
            Instead::Says(401, json!({ "error": "invalid_client" }).to_string()),
            ProviderFault::ClientRefused,
        ),
        (
            Instead::Slow(Duration::from_secs(3600)),
            ProviderFault::TimedOut,
        ),
    ] {
        let mut harness = ProviderHarness::open().await;
        let answer = harness.log_in().await;
        harness.provider.acts().instead.insert("/token", instead);
        let error = harness.verify(&answer).await.unwrap_err();
        assert_eq!(provider_fault(&error), Some(fault), "{error:?}");
    }
    assert_eq!(elsewhere.asked("/token"), 0, "no code went elsewhere");
}
