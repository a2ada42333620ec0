//! What is read of the gate's options, and what is written in answer.

use super::*;

const REQUEST: &str = r#"{"publicKey":{"challenge":"AAECAw","timeout":300000,"rpId":"gate.example.com",
"allowCredentials":[{"type":"public-key","id":"BwcH"}],"userVerification":"required"}}"#;

const CREATION: &str = r#"{"publicKey":{"rp":{"name":"Gate","id":"gate.example.com"},
"user":{"id":"CQk","name":"alice","displayName":"alice"},"challenge":"AAECAw",
"pubKeyCredParams":[{"type":"public-key","alg":-7}],
"excludeCredentials":[{"type":"public-key","id":"BwcH"}]}}"#;

#[test]
fn the_options_come_apart() {
    let asked = AssertionOptions::parse(REQUEST).unwrap();
    assert_eq!(asked.rp_id, "gate.example.com");
    assert_eq!(asked.challenge, [0, 1, 2, 3]);
    assert_eq!(asked.credentials, [[7, 7, 7]]);
    let asked = CreationOptions::parse(CREATION).unwrap();
    assert_eq!(asked.rp_id, "gate.example.com");
    assert_eq!(asked.challenge, [0, 1, 2, 3]);
    assert_eq!(asked.user_handle, [9, 9]);
    assert_eq!(asked.user_name, "alice");
    assert_eq!(asked.known, [[7, 7, 7]]);
}

#[test]
fn what_a_platform_takes_is_inside_public_key() {
    let inner: Value = serde_json::from_str(&public_key(REQUEST).unwrap()).unwrap();
    let outer: Value = serde_json::from_str(REQUEST).unwrap();
    assert_eq!(inner, outer["publicKey"]);
}

#[test]
fn options_of_another_shape_are_not_read() {
    for text in [
        "",
        "{}",
        "[]",
        r#"{"publicKey":1}"#,
        r#"{"publicKey":{"challenge":"?"}}"#,
    ] {
        assert_eq!(AssertionOptions::parse(text), Err(UnreadableOptions));
        assert_eq!(CreationOptions::parse(text), Err(UnreadableOptions));
    }
    assert_eq!(public_key(r#"{"publicKey":1}"#), Err(UnreadableOptions));
    assert_eq!(public_key("{}"), Err(UnreadableOptions));
}

#[test]
fn an_answer_that_no_message_holds_is_none() {
    let assertion = |length| Assertion {
        credential_id: vec![7],
        client_data_json: vec![0; length],
        authenticator_data: Vec::new(),
        signature: Vec::new(),
        user_handle: Some(vec![9]),
    };
    assert!(assertion(12_000).to_answer().is_some());
    assert!(assertion(12_300).to_answer().is_none());
    let attestation = Attestation {
        credential_id: vec![7],
        client_data_json: Vec::new(),
        attestation_object: vec![0; 12_300],
    };
    assert!(attestation.to_answer().is_none());
}
