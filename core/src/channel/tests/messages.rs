//! The JSON form of every message. A change shows in the snapshot; only additions are compatible.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::message::{
    Ciphertext, Denied, DeniedReason, Ended, Granted, Hidden, Nonce, Protection, Redirect, Refusal,
    Share, Status, Workload,
};
use super::*;

fn line<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(message: &T) -> String {
    let json = noise::to_json(message).unwrap();
    assert_eq!(noise::from_json::<T>(&json).as_ref(), Ok(message));
    let mut line = String::from_utf8(json.to_vec()).unwrap();
    for len in [1216, 1120, 32] {
        let long = data_encoding::BASE64.encode(&vec![1; len]);
        line = line.replace(&format!("\"{long}\""), &format!("<{len} bytes as Base64>"));
    }
    line
}

fn lines(lines: &[String]) -> String {
    lines.join("\n")
}

#[test]
fn the_json_of_what_a_client_says_first() {
    let sent_at = Timestamp::from_millis(1_795_539_661_007);
    let session = SessionId::from_bytes([3; 16]);
    let key = EncapsulationKey(Box::new([1; 1216]));
    let said = [("os".to_owned(), "Debian 13".to_owned())];
    let posture = Posture::new(said.into()).unwrap();
    let hellos = [
        Hello::Begin {
            sent_at,
            encapsulation_key: key.clone(),
            posture: Posture::default(),
        },
        Hello::Renew {
            sent_at,
            session,
            encapsulation_key: key,
            posture,
        },
        Hello::Enrol {
            sent_at,
            kind: FactorKind::DEVICE_KEY,
            label: "phone".into(),
            token: None,
        },
        Hello::Enrol {
            sent_at,
            kind: FactorKind::DEVICE_KEY,
            label: "phone".into(),
            token: hidden("mfe_token"),
        },
        Hello::Status { sent_at, session },
        Hello::End { sent_at, session },
    ];
    insta::assert_snapshot!(lines(&hellos.map(|hello| line(&hello))));
}

#[test]
fn the_json_of_what_a_client_says_in_an_attempt() {
    let requests = [
        answer(),
        Request::Choose {
            factor: FactorId::from_bytes([8; 16]),
        },
        Request::Confirm {},
        Request::Cancel {},
    ];
    insta::assert_snapshot!(lines(&requests.map(|request| line(&request))));
}

#[test]
fn the_json_of_what_a_gate_replies() {
    let attempt = AttemptId::from_bytes([9; 32]);
    let grant = Granted {
        session: SessionId::from_bytes([3; 16]),
        lease_ms: 28_800_000,
        renewable_ms: 28_800_000,
        addresses: vec![
            "10.0.0.2/32".parse().unwrap(),
            "fd00::2/128".parse().unwrap(),
        ],
        end_on_wake: true,
        ciphertext: Ciphertext(Box::new([1; 1120])),
        share: Share(Box::new([1; 32])),
    };
    let mut locked = challenge(attempt);
    if let Reply::Challenge {
        factor: Some(factor),
        others,
        ..
    } = &mut locked
    {
        others.push(factor.clone());
        factor.locked_for_ms = Some(30_000);
    }
    let replies = [
        challenge(attempt),
        locked,
        Reply::Confirm {
            attempt,
            expires_in_ms: 300_000,
        },
        Reply::Granted { grant },
        Reply::Enrolled {
            factor: FactorId::from_bytes([8; 16]),
        },
        Reply::Done {},
    ];
    let denied = [
        DeniedReason::Wrong,
        DeniedReason::Replayed,
        DeniedReason::Locked,
        DeniedReason::Disabled,
        DeniedReason::Unfit,
        DeniedReason::Expired,
        DeniedReason::Busy,
        DeniedReason::Overtaken,
    ]
    .map(|reason| Reply::Denied {
        denied: Denied {
            reason,
            tries_left: 4,
            locked_for_ms: matches!(reason, DeniedReason::Locked).then_some(30_000),
        },
    });
    let ended = [
        None,
        Some(Ended::Expired),
        Some(Ended::Inactive),
        Some(Ended::EndpointChanged),
        Some(Ended::Revoked),
        Some(Ended::SignedOut),
        Some(Ended::Superseded),
        Some(Ended::InterfaceFailed),
    ]
    .map(|reason| Reply::Status {
        status: Status::Ended { reason },
    });
    let live = Reply::Status {
        status: Status::Live { lease_ms: 1000 },
    };
    let gate_time = Timestamp::from_millis(1_795_539_661_007);
    let refused = [
        Refusal::NotEnrolled {},
        Refusal::NoFactor {},
        Refusal::Clock { gate_time },
        Refusal::Replay {},
        Refusal::Busy { retry_ms: 1000 },
        Refusal::NoAttempt {},
        Refusal::OutOfOrder {},
        Refusal::NotRenewable {},
        Refusal::Assurance {},
        Refusal::NotAuthorised {},
        Refusal::OutsideHours {},
        Refusal::TooManySessions {},
        Refusal::BadToken {},
        Refusal::NotEnrollable {},
        Refusal::Unavailable {},
    ]
    .map(|refusal| Reply::Refused { refusal });
    let all = replies.iter().chain(&denied).chain([&live]);
    let all: Vec<String> = all.chain(&ended).chain(&refused).map(line).collect();
    insta::assert_snapshot!(lines(&all));
}

#[test]
fn the_json_of_what_is_asked_and_answered() {
    let nonce = Nonce::from_bytes([1; 32]);
    let expires_at = Timestamp::from_millis(1_795_539_661_007);
    let challenges = [
        Challenge::Code { digits: 6 },
        Challenge::SentCode {
            digits: 8,
            sent_to: "a…@example.com".into(),
            good_for_ms: 600_000,
            resend_in_ms: 30_000,
        },
        Challenge::RecoveryCode { left: 9 },
        Challenge::Password {},
        Challenge::Signature {
            key_id: "00ff".into(),
            nonce: nonce.clone(),
            expires_at,
        },
        Challenge::WebAuthn {
            options: "{}".into(),
        },
        Challenge::OpenId {
            issuer: "https://id.example".into(),
            authorize: Some("https://id.example/authorize?…".into()),
            redirects: vec![
                Redirect::Loopback {
                    path: "/callback".into(),
                },
                Redirect::Exact {
                    uri: "app:/callback".into(),
                },
            ],
            device: true,
            workload: Some(Workload {
                audience: "mfagate:…".into(),
                nonce: "n".into(),
            }),
        },
        Challenge::DeviceGrant {
            verification_uri: "https://id.example/device".into(),
            verification_uri_complete: None,
            user_code: "ABCD-EFGH".into(),
            interval_ms: 5000,
        },
        Challenge::RegisterTotp {
            uri: hidden("otpauth://totp/…").unwrap(),
            digits: 6,
        },
        Challenge::RegisterKey {
            nonce,
            expires_at,
            protection: Protection::HardwareUserVerified,
        },
        Challenge::RegisterWebAuthn {
            options: "{}".into(),
        },
        Challenge::ChoosePassword { shortest: 15 },
        Challenge::KeepRecoveryCodes {
            codes: vec![hidden("AAAA-BBBB").unwrap()],
        },
        Challenge::Address {},
    ];
    let answers = [
        Answer::Code {
            code: "123456".parse().unwrap(),
        },
        Answer::RecoveryCode {
            code: hidden("AAAA-BBBB").unwrap(),
        },
        Answer::Password {
            password: hidden("correct horse").unwrap(),
        },
        Answer::Signature {
            signature: "AA==".into(),
        },
        Answer::WebAuthn {
            credential: hidden("{}").unwrap(),
        },
        Answer::Redirected {
            redirect_uri: "http://127.0.0.1:1/callback".into(),
            query: hidden("code=…").unwrap(),
        },
        Answer::BeginDeviceGrant {},
        Answer::Poll {},
        Answer::IdToken {
            token: hidden("e30.e30.").unwrap(),
        },
        Answer::RegisterKey {
            public_key: "AA==".into(),
            signature: "AA==".into(),
            protection: Protection::Software,
            attestation: None,
        },
        Answer::RegisterWebAuthn {
            credential: hidden("{}").unwrap(),
        },
        Answer::Address {
            address: hidden("alice@example.com").unwrap(),
        },
    ];
    let lines: Vec<String> = challenges
        .iter()
        .map(line)
        .chain(answers.iter().map(line))
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
}

fn hidden(text: &str) -> Option<Hidden> {
    Hidden::new(text.to_owned())
}

#[test]
fn a_key_of_another_length_or_spelling_is_no_key() {
    let json = |key: &str| {
        let text =
            format!(r#"{{"type":"begin","sent_at":7,"encapsulation_key":"{key}","posture":{{}}}}"#);
        Hello::from_json(text.as_bytes())
    };
    let good = data_encoding::BASE64.encode(&[1; 1216]);
    let short = data_encoding::BASE64.encode(&[1; 1215]);
    let unpadded = good.trim_end_matches('=');
    assert!(json(&good).is_ok());
    assert_eq!(json(&short), Err(ChannelError::Unknown));
    assert_eq!(json(unpadded), Err(ChannelError::Unknown));
    assert_eq!(json(&format!("{good} ")), Err(ChannelError::Unknown));
}

#[test]
fn an_unknown_doubled_or_absent_field_at_any_depth_is_an_error() {
    for json in [
        r#"{"type":"done","type":"done"}"#,
        r#"{"type":"refused","refusal":{"reason":"replay","more":1}}"#,
        r#"{"type":"refused","refusal":{"reason":"clock"}}"#,
        r#"{"type":"refused","refusal":{"reason":"clock","gate_time":1,"gate_time":1}}"#,
        r#"{"type":"refused","refusal":{"reason":"clock","gate_time":-1}}"#,
        r#"{"type":"refused","refusal":{"reason":"clock","gate_time":1.5}}"#,
        r#"{"type":"refused","refusal":"replay"}"#,
        r#"{"type":"denied","denied":{"reason":"wrong","tries_left":4,"locked_for_ms":null,"x":0}}"#,
        r#"{"type":"denied","denied":{"reason":"odd","tries_left":4,"locked_for_ms":null}}"#,
        r#"{"type":"denied","denied":{"reason":"wrong","tries_left":4294967296,"locked_for_ms":null}}"#,
        r#"{"type":"status","status":{"state":"live","lease_ms":1,"lease_ms":1}}"#,
        r#"{"type":"denied","denied":{"reason":"wrong","tries_left":4}}"#,
        r#"{"type":"status","status":{"state":"ended"}}"#,
        r#"{"type":"status","status":{"state":"asleep"}}"#,
        r#"{"type":"granted","grant":{}}"#,
        r#"{"type":"done"}}"#,
        r#"{"type":"done"}{"type":"done"}"#,
        "{\"type\":\"done\"}\0",
        r#"{"type":null}"#,
        r#"{}"#,
        "",
    ] {
        let read = Reply::from_json(json.as_bytes());
        assert_eq!(read, Err(ChannelError::Unknown), "{json}");
    }
}
