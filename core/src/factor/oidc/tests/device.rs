//! The device authorisation grant.

use super::*;
use std::time::Duration;

/// Asks for a login on another device; what to show.
async fn begin(harness: &mut ProviderHarness) -> Challenge {
    let challenge = harness.ask().await;
    assert!(matches!(challenge, Challenge::OpenId { device: true, .. }));
    judge_on(harness, &Answer::BeginDeviceGrant {})
        .await
        .unwrap()
}

/// Judges an answer to which there is another question.
async fn judge_on(
    harness: &mut ProviderHarness,
    answer: &Answer,
) -> Result<Challenge, VerifyError> {
    match harness.judge(answer).await? {
        Verdict::Ask(asked) => {
            harness.harness.state = asked.state;
            Ok(asked.challenge)
        }
        proven @ Verdict::Proven(_) => panic!("{proven:?}"),
    }
}

fn interval(challenge: &Challenge) -> Duration {
    let Challenge::DeviceGrant { interval_ms, .. } = challenge else {
        panic!("{challenge:?}")
    };
    Duration::from_millis(*interval_ms)
}

fn wait(harness: &mut ProviderHarness, span: Duration) {
    harness.harness.now = harness.harness.now + span;
    harness.provider.acts().now = harness.harness.now.as_secs();
}

#[tokio::test]
async fn a_device_login_is_polled_at_the_providers_pace() {
    let mut harness =
        ProviderHarness::open_as(|provider| provider.acr_proves("phr", Vouched::PhishingResistant))
            .await;
    harness.provider.acts().polls = vec!["authorization_pending", "slow_down"];
    harness.provider.acts().lies = json!({ "acr": "phr" });
    let shown = begin(&mut harness).await;
    assert_eq!(interval(&shown), Duration::from_secs(5));

    let early = harness.judge(&Answer::Poll {}).await;
    assert!(matches!(early, Err(VerifyError::Busy { .. })), "{early:?}");
    assert_eq!(
        harness.provider.asked("/token"),
        0,
        "the provider is spared"
    );

    wait(&mut harness, Duration::from_secs(5));
    let pending = judge_on(&mut harness, &Answer::Poll {}).await.unwrap();
    assert_eq!(pending, shown);
    wait(&mut harness, Duration::from_secs(5));
    let slower = judge_on(&mut harness, &Answer::Poll {}).await.unwrap();
    assert_eq!(interval(&slower), Duration::from_secs(10));
    wait(&mut harness, Duration::from_secs(5));
    let early = harness.judge(&Answer::Poll {}).await;
    let Err(VerifyError::Busy { retry }) = early else {
        panic!("{early:?}")
    };
    assert_eq!(retry, Duration::from_secs(5));
    wait(&mut harness, retry);
    let proof = harness.verify(&Answer::Poll {}).await.unwrap();
    assert!(
        !proof.assurance.phishing_resistant,
        "a code can be passed on"
    );
}

#[tokio::test]
async fn a_login_that_the_user_declines_or_lets_pass_is_none() {
    for (error, is_late) in [("access_denied", false), ("expired_token", true)] {
        let mut harness = ProviderHarness::open().await;
        harness.provider.acts().polls = vec![error];
        begin(&mut harness).await;
        wait(&mut harness, Duration::from_secs(5));
        let verdict = harness.judge(&Answer::Poll {}).await;
        match verdict {
            Err(VerifyError::Wrong) if !is_late => {}
            Err(VerifyError::Expired) if is_late => {}
            other => panic!("{error}: {other:?}"),
        }
    }
    let mut harness = ProviderHarness::open().await;
    begin(&mut harness).await;
    wait(&mut harness, Duration::from_secs(120));
    let verdict = harness.judge(&Answer::Poll {}).await;
    assert!(matches!(verdict, Err(VerifyError::Expired)), "{verdict:?}");
    assert_eq!(harness.provider.asked("/token"), 0);
}

#[tokio::test]
async fn somebody_elses_login_or_another_attempts_nonce_is_wrong() {
    for lie in [json!({ "sub": "mallory" }), json!({ "nonce": "another" })] {
        let mut harness = ProviderHarness::open().await;
        harness.provider.acts().lies = lie;
        begin(&mut harness).await;
        wait(&mut harness, Duration::from_secs(5));
        let verdict = harness.judge(&Answer::Poll {}).await;
        assert!(matches!(verdict, Err(VerifyError::Wrong)), "{verdict:?}");
    }
    let mut harness = ProviderHarness::open().await;
    harness.provider.acts().lies = json!({ "nonce": null });
    begin(&mut harness).await;
    wait(&mut harness, Duration::from_secs(5));
    harness.verify(&Answer::Poll {}).await.unwrap();
}

#[tokio::test]
async fn a_user_begins_no_more_than_one_grant_every_five_seconds() {
    let mut harness = ProviderHarness::open().await;
    begin(&mut harness).await;
    harness.ask().await;
    let again = harness.judge(&Answer::BeginDeviceGrant {}).await;
    assert!(matches!(again, Err(VerifyError::Busy { .. })), "{again:?}");
    assert_eq!(harness.provider.asked("/device"), 1);
    wait(&mut harness, Duration::from_secs(5));
    begin(&mut harness).await;
}

#[tokio::test]
async fn what_a_provider_would_have_shown_is_checked_first() {
    let honest = json!({
        "device_code": "x", "user_code": "ABCD", "verification_uri": "https://id.example/activate",
        "expires_in": 60, "interval": 5,
    });
    for (name, value) in [
        ("verification_uri", json!("http://evil.example/activate")),
        ("verification_uri", json!("javascript:alert(1)")),
        ("verification_uri_complete", json!("file:///etc/passwd")),
        ("user_code", json!("AB\u{1b}[2J")),
        ("user_code", json!("")),
        ("user_code", json!("A".repeat(65))),
    ] {
        let mut harness = ProviderHarness::open().await;
        harness.ask().await;
        let mut said = honest.clone();
        said[name] = value;
        let instead = Instead::Says(200, said.to_string());
        harness.provider.acts().instead.insert("/device", instead);
        let error = harness
            .judge(&Answer::BeginDeviceGrant {})
            .await
            .unwrap_err();
        assert!(provider_fault(&error).is_some(), "{said}: {error:?}");
    }
}

#[tokio::test]
async fn a_provider_that_does_not_answer_a_poll_is_asked_later() {
    let mut harness = ProviderHarness::open().await;
    begin(&mut harness).await;
    wait(&mut harness, Duration::from_secs(5));
    let broken = Instead::Redirect("http://127.0.0.1:1/".to_owned());
    harness.provider.acts().instead.insert("/token", broken);
    let later = judge_on(&mut harness, &Answer::Poll {}).await.unwrap();
    assert_eq!(
        interval(&later),
        Duration::from_secs(10),
        "RFC 8628, section 3.5"
    );
    harness.provider.acts().instead.clear();
    wait(&mut harness, Duration::from_secs(10));
    harness.verify(&Answer::Poll {}).await.unwrap();
}

#[tokio::test]
async fn a_device_grant_is_offered_only_where_both_sides_have_it() {
    let mut harness = ProviderHarness::open().await;
    harness.provider.acts().metadata = json!({ "device_authorization_endpoint": null });
    let challenge = harness.ask().await;
    assert!(matches!(challenge, Challenge::OpenId { device: false, .. }));
    let verdict = harness
        .judge(&Answer::BeginDeviceGrant {})
        .await
        .unwrap_err();
    assert_eq!(provider_fault(&verdict), Some(ProviderFault::NoEndpoint));
}
