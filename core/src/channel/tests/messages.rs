//! The JSON form of every message. A change shows in the snapshot; only additions are compatible.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::super::message::{
    Ciphertext, Denied, DeniedReason, Ended, EnrolRequest, Granted, Nonce, Protection, Redirect,
    Refusal, SecretString, Share, Status, Workload,
};
use super::*;

fn line<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(message: &T) -> String {
    let json = json::to_json(message).unwrap();
    assert_eq!(json::from_json::<T>(&json).as_ref(), Ok(message));
    let text = String::from_utf8(json.to_vec()).unwrap();
    let mut line = text.trim_end_matches(' ').to_owned();
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
            request: enrol_request(None),
        },
        Hello::Enrol {
            sent_at,
            request: enrol_request(hidden("mfe_token")),
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

fn enrol_request(token: Option<SecretString>) -> EnrolRequest {
    EnrolRequest {
        kind: FactorKind::DEVICE_KEY,
        label: "phone".parse().unwrap(),
        token,
    }
}

fn hidden(text: &str) -> Option<SecretString> {
    SecretString::new(text.to_owned())
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
    // Coefficients of 4095.
    let out_of_range = data_encoding::BASE64.encode(&[0xff; 1216]);
    assert_eq!(json(&out_of_range), Err(ChannelError::Unknown));
}

/// A message, and what the decoder makes of a changed one.
type Sample = (Value, fn(&str) -> bool);

/// Messages of every kind, each with an object in an object.
fn samples() -> Vec<Sample> {
    fn reads<T: Serialize + DeserializeOwned>(json: &str) -> bool {
        json::from_json::<T>(json.as_bytes()).is_ok()
    }
    let attempt = AttemptId::from_bytes([9; 32]);
    let mut offers = challenge(attempt);
    if let Reply::Challenge { others, .. } = &mut offers {
        others.push(offer());
    }
    let said = [("os".to_owned(), "Debian 13".to_owned())];
    let hello = Hello::Begin {
        sent_at: Timestamp::from_millis(7),
        encapsulation_key: EncapsulationKey(Box::new([1; 1216])),
        posture: Posture::new(said.into()).unwrap(),
    };
    let denied = Reply::Denied {
        denied: Denied {
            reason: DeniedReason::Wrong,
            tries_left: 4,
            locked_for_ms: Some(1),
        },
    };
    let ended = Reply::Status {
        status: Status::Ended {
            reason: Some(Ended::Expired),
        },
    };
    let refused = Reply::Refused {
        refusal: Refusal::Busy { retry_ms: 1 },
    };
    let key = Request::Answer {
        answer: Answer::RegisterKey {
            public_key: "AA==".into(),
            signature: "AA==".into(),
            protection: Protection::Software,
            attestation: None,
        },
    };
    let replies = [offers, denied, ended, refused].map(|reply| {
        let sample: Sample = (serde_json::to_value(reply).unwrap(), reads::<Reply>);
        sample
    });
    let requests = [answer(), key].map(|request| {
        let sample: Sample = (serde_json::to_value(request).unwrap(), reads::<Request>);
        sample
    });
    let enrol = [None, hidden("mfe_token")].map(|token| Hello::Enrol {
        sent_at: Timestamp::from_millis(7),
        request: enrol_request(token),
    });
    let hellos = enrol.into_iter().chain([hello]).map(|hello| {
        let sample: Sample = (serde_json::to_value(hello).unwrap(), reads::<Hello>);
        sample
    });
    replies.into_iter().chain(requests).chain(hellos).collect()
}

/// Where the values of a JSON text are, and all that a tolerant decoder might take for each.
fn changes(at: &str, value: &Value, found: &mut Vec<(String, String)>) {
    let mut other = |text: String| found.push((at.to_owned(), text));
    match value {
        Value::Object(fields) => {
            // The tag first, as a decoder would want it of an array.
            let tag = ["type", "reason", "state"].into_iter();
            let tag = tag.filter_map(|tag| fields.get(tag)).take(1);
            let rest = fields.iter().filter(|(name, _)| *name != "type");
            let list: Vec<_> = tag.chain(rest.map(|(_, value)| value)).collect();
            other(serde_json::to_string(&list).unwrap());
            let values: Vec<_> = fields.values().collect();
            other(serde_json::to_string(&values).unwrap());
            let text = value.to_string();
            other(text.replacen('{', "{\"unknown\":1,", 1).replace(",}", "}"));
            for (name, value) in fields {
                let again = format!("{{\"{name}\":{value},");
                other(text.replacen('{', &again, 1).replace(",}", "}"));
            }
            for (name, value) in fields {
                changes(&format!("{at}/{name}"), value, found);
            }
        }
        Value::Array(values) => {
            for (place, value) in values.iter().enumerate() {
                changes(&format!("{at}/{place}"), value, found);
            }
        }
        Value::String(text) => {
            (0..16).for_each(|number| other(number.to_string()));
            other(format!("{{\"{text}\":null}}"));
            other(format!("[\"{text}\"]"));
        }
        Value::Number(number) => {
            other(format!("{number}.0"));
            other(format!("\"{number}\""));
            other(format!("-{number}"));
        }
        Value::Null => other("{}".to_owned()),
        Value::Bool(_) => other("1".to_owned()),
    }
}

#[test]
fn a_decoder_takes_nothing_that_its_own_end_would_not_write() {
    const HERE: &str = "changed here";
    let mut tried = 0;
    for (message, reads) in samples() {
        assert!(reads(&message.to_string()), "{message}");
        let mut found = Vec::new();
        changes("", &message, &mut found);
        for (at, text) in found {
            let mut changed = message.clone();
            *changed.pointer_mut(&at).unwrap() = HERE.into();
            let json = changed.to_string().replace(&format!("\"{HERE}\""), &text);
            // Where texts are free, another one is none the worse.
            assert!(!reads(&json), "{json}");
            tried += 1;
        }
    }
    assert!(tried > 500, "{tried}");
}

#[test]
fn a_name_in_posture_that_comes_twice_is_refused() {
    let key = data_encoding::BASE64.encode(&[1; 1216]);
    let hello = |posture: &str| {
        format!(r#"{{"type":"begin","sent_at":7,"encapsulation_key":"{key}","posture":{posture}}}"#)
    };
    let read = |posture: &str| Hello::from_json(hello(posture).as_bytes());
    assert!(read(r#"{"os":"a","name":"a"}"#).is_ok());
    assert_eq!(read(r#"{"os":"a","os":"b"}"#), Err(ChannelError::Unknown));
    assert_eq!(
        read(r#"{"os":"a","o\u0073":"b"}"#),
        Err(ChannelError::Unknown)
    );
}

#[test]
fn a_label_that_breaks_the_rule_is_refused_in_a_message() {
    let hello = |label: &str| {
        let label = serde_json::to_string(label).unwrap();
        let text =
            format!(r#"{{"type":"enrol","sent_at":7,"kind":"totp","label":{label},"token":null}}"#);
        Hello::from_json(text.as_bytes())
    };
    assert!(hello("phone").is_ok());
    for bad in ["", "a\nb", "\u{1b}[2J", &"x".repeat(50_000)] {
        assert_eq!(hello(bad), Err(ChannelError::Unknown), "{bad:?}");
    }
}

#[test]
fn a_request_to_enrol_has_all_its_fields_once_and_no_others() {
    let read = |fields: &str| {
        let text = format!(r#"{{"type":"enrol","sent_at":7,{fields}}}"#);
        Hello::from_json(text.as_bytes())
    };
    assert!(read(r#""kind":"totp","label":"phone","token":null"#).is_ok());
    for bad in [
        r#""kind":"totp","label":"phone""#,
        r#""label":"phone","token":null"#,
        r#""kind":"totp","token":null"#,
        r#""kind":"totp","kind":"totp","label":"phone","token":null"#,
        r#""kind":"totp","label":"phone","token":null,"token":"mfe_token""#,
        r#""kind":"totp","label":"phone","token":null,"posture":{}"#,
        r#""kind":"totp","label":"phone","token":null,"sent_at":7"#,
        r#""request":{"kind":"totp","label":"phone","token":null}"#,
    ] {
        assert_eq!(read(bad), Err(ChannelError::Unknown), "{bad}");
    }
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
