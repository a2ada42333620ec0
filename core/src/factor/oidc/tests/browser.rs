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
    let mut desk = Desk::open_as(vouching).await;
    let plain = desk.admit().await.unwrap();
    assert_eq!(plain.factor, desk.stage.factor.id);
    assert_eq!(
        plain.assurance.authenticated_at,
        Timestamp::from_millis(NOW.as_secs() * 1000)
    );
    assert!(!plain.assurance.user_verified && !plain.assurance.phishing_resistant);
    assert!(plain.assurance.replay_resistant && !plain.assurance.verifier_bound);
    assert_eq!((plain.update, plain.not_after), (None, None));

    desk.provider.acts().lies = json!({ "amr": ["pwd", "mfa"], "acr": "phr" });
    let strong = desk.admit().await.unwrap();
    assert!(strong.assurance.user_verified && strong.assurance.phishing_resistant);
}

#[tokio::test]
async fn a_code_admits_once() {
    let mut desk = Desk::open().await;
    let answer = desk.log_in().await;
    desk.verify(&answer).await.unwrap();
    let again = desk.verify(&answer).await;
    assert!(matches!(again, Err(VerifyError::Wrong)), "{again:?}");
}

#[tokio::test]
async fn a_login_is_worth_nothing_in_another_attempt_for_another_peer_or_elsewhere() {
    let changes: [fn(&mut Stage); 3] = [
        |stage| stage.attempt = AttemptId::from_bytes([8; 32]),
        |stage| stage.peer = PublicKey::from_bytes([8; 32]),
        |stage| stage.location_key = PublicKey::from_bytes([8; 32]),
    ];
    for change in changes {
        let mut desk = Desk::open().await;
        let answer = desk.log_in().await;
        change(&mut desk.stage);
        let verdict = desk.verify(&answer).await;
        assert!(matches!(verdict, Err(VerifyError::Wrong)), "{verdict:?}");
        assert_eq!(desk.provider.asked("/token"), 0);
    }
}

#[tokio::test]
async fn a_login_of_another_attempt_does_not_fit_this_ones_state() {
    let mut desk = Desk::open().await;
    let first = desk.log_in().await;
    desk.ask().await;
    let verdict = desk.verify(&first).await;
    assert!(matches!(verdict, Err(VerifyError::Wrong)), "{verdict:?}");
    assert_eq!(desk.provider.asked("/token"), 0, "no code leaves for it");
}

#[tokio::test]
async fn a_login_that_comes_after_the_attempt_is_late() {
    let mut desk = Desk::open().await;
    let answer = desk.log_in().await;
    desk.stage.now = desk.stage.expires;
    let verdict = desk.verify(&answer).await;
    assert!(matches!(verdict, Err(VerifyError::Expired)), "{verdict:?}");
}

#[tokio::test]
async fn a_browser_may_come_back_only_where_it_was_sent() {
    let mut desk = Desk::open_as(|provider| {
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
        let answer = desk.log_in_at(good).await;
        desk.verify(&answer).await.unwrap();
    }
    let before = desk.provider.asked("/token");
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
        let Answer::Redirected { query, .. } = desk.log_in().await else {
            panic!("a redirect")
        };
        let verdict = desk.verify(&redirected(bad, query.expose_secret())).await;
        assert!(
            matches!(verdict, Err(VerifyError::Wrong)),
            "{bad}: {verdict:?}"
        );
    }
    assert_eq!(desk.provider.asked("/token"), before);
}

#[tokio::test]
async fn what_comes_back_is_taken_only_with_the_state_the_code_and_the_issuer_of_the_login() {
    let mut desk = Desk::open().await;
    let Answer::Redirected { query, .. } = desk.log_in().await else {
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
        let verdict = desk.verify(&redirected(BACK, &query)).await;
        assert!(
            matches!(verdict, Err(VerifyError::Wrong)),
            "{query}: {verdict:?}"
        );
    }
    assert_eq!(desk.provider.asked("/token"), 0);
    let with_more = format!("{}&session_state=x", encoded(&right));
    desk.verify(&redirected(BACK, &with_more)).await.unwrap();
}

#[tokio::test]
async fn an_issuer_that_does_not_say_who_it_is_when_it_comes_back_need_not() {
    let mut desk = Desk::open().await;
    desk.provider.acts().metadata =
        json!({ "authorization_response_iss_parameter_supported": null });
    let Answer::Redirected { query, .. } = desk.log_in().await else {
        panic!("a redirect")
    };
    let (rest, _) = query.expose_secret().split_once("&iss=").unwrap();
    desk.verify(&redirected(BACK, rest)).await.unwrap();
}

#[tokio::test]
async fn an_answer_of_another_kind_is_unfit() {
    let mut desk = Desk::open().await;
    desk.ask().await;
    for answer in [
        Answer::Poll {},
        Answer::Password {
            password: Hidden::new("x".to_owned()).unwrap(),
        },
        Answer::IdToken {
            token: Hidden::new("x".to_owned()).unwrap(),
        },
    ] {
        let verdict = desk.judge(&answer).await;
        assert!(matches!(verdict, Err(VerifyError::Unfit)), "{verdict:?}");
    }
}

#[tokio::test]
async fn a_provider_is_asked_for_what_is_required() {
    let mut desk = Desk::open_as(|provider| {
        provider
            .max_age(Duration::from_secs(90))?
            .scope("email")?
            .require_acr("2")
    })
    .await;
    let url = url::Url::parse(&opened(&desk.ask().await, BACK)).unwrap();
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
    let again = url::Url::parse(&opened(&desk.ask().await, BACK)).unwrap();
    let again: std::collections::BTreeMap<_, _> = again.query_pairs().collect();
    for random in ["state", "nonce", "code_challenge"] {
        assert_ne!(asked[random], again[random], "{random}");
    }
}

#[tokio::test]
async fn the_token_endpoint_may_send_nobody_elsewhere_and_a_slow_or_broken_one_is_its_own_fault() {
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
        let mut desk = Desk::open().await;
        let answer = desk.log_in().await;
        desk.provider.acts().instead.insert("/token", instead);
        let error = desk.verify(&answer).await.unwrap_err();
        assert_eq!(provider_fault(&error), Some(fault), "{error:?}");
    }
    assert_eq!(elsewhere.asked("/token"), 0, "no code went elsewhere");
}
