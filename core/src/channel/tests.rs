//! The two ends against each other, and against what comes between them.

mod altered;
mod messages;
mod providers;
mod vectors;

use super::kem::portable;
use super::message::{
    Answer, Challenge, EncapsulationKey, Hello, Offer, Posture, Reply, Request, SecretString, Share,
};
use super::*;
use crate::assurance::FactorKind;
use crate::id::{AttemptId, FactorId, SessionId};
use crate::key::{PresharedKey, PrivateKey};
use crate::time::Timestamp;

struct Pair {
    client: ClientSession,
    gate: GateSession,
    attempt: AttemptId,
    secret: DecapsulationSecret,
    key: EncapsulationKey,
}

fn begin(key: &EncapsulationKey) -> Hello {
    Hello::Begin {
        sent_at: Timestamp::from_millis(7),
        encapsulation_key: key.clone(),
        posture: Posture::default(),
    }
}

fn challenge(attempt: AttemptId) -> Reply {
    Reply::Challenge {
        attempt,
        factor: Some(offer()),
        challenge: Challenge::Code { digits: 6 },
        others: Vec::new(),
        expires_in_ms: 300_000,
    }
}

fn offer() -> Offer {
    Offer {
        factor: FactorId::from_bytes([8; 16]),
        kind: FactorKind::TOTP,
        label: "phone".parse().unwrap(),
        locked_for_ms: None,
    }
}

fn answer() -> Request {
    Request::Answer {
        answer: Answer::Code {
            code: "123456".parse().unwrap(),
        },
    }
}

fn terms() -> GrantTerms {
    GrantTerms {
        session: SessionId::from_bytes([3; 16]),
        lease_ms: 1000,
        renewable_ms: 2000,
        addresses: vec!["10.0.0.2/32".parse().unwrap()],
        end_on_wake: false,
    }
}

fn accept(responder: &Responder, body: &[u8]) -> Result<Accepted, Unauthenticated> {
    match parse(body)? {
        Incoming::Handshake(message) => responder.accept(message),
        Incoming::Request { .. } => Err(Unauthenticated::NoAttempt),
    }
}

fn pair() -> Pair {
    let (peer, location) = (
        PrivateKey::generate().unwrap(),
        PrivateKey::generate().unwrap(),
    );
    let responder = Responder::new(location);
    let (secret, key) = DecapsulationSecret::generate().unwrap();
    let (initiator, body) = Initiator::begin(&peer, &responder.public_key(), &begin(&key)).unwrap();
    let accepted = accept(&responder, &body).unwrap();
    assert_eq!(accepted.peer, peer.public_key());
    assert_eq!(accepted.hello, begin(&key));
    let attempt = AttemptId::from_bytes([9; 32]);
    let (gate, body) = accepted.pending.reply(&challenge(attempt)).unwrap();
    let (client, reply) = initiator.finish(&body).unwrap();
    assert_eq!(reply, challenge(attempt));
    Pair {
        client,
        gate,
        attempt,
        secret,
        key,
    }
}

fn open(gate: &mut GateSession, body: &[u8]) -> Result<Request, ChannelError> {
    match parse(body)? {
        Incoming::Request {
            counter,
            ciphertext,
            ..
        } => gate.open(counter, ciphertext),
        Incoming::Handshake(_) => Err(ChannelError::NotAuthentic),
    }
}

fn granted(pair: &mut Pair) -> (PresharedKey, Vec<u8>) {
    let body = pair.client.request(&pair.attempt, &answer()).unwrap();
    assert_eq!(open(&mut pair.gate, &body), Ok(answer()));
    let (grant, psk) = pair.gate.grant(terms(), &pair.key).unwrap();
    (psk, pair.gate.seal_grant(grant).unwrap())
}

#[test]
fn both_ends_derive_the_same_preshared_key_and_it_is_not_sent() {
    let mut pair = pair();
    let (psk, body) = granted(&mut pair);
    let opened = pair.client.reply(&body).unwrap();
    assert!(opened.preshared_key(&pair.client, &pair.secret).unwrap() == psk);
    let sent = serde_json::to_string(&opened.reply).unwrap();
    assert!(!sent.contains(&data_encoding::BASE64.encode(psk.expose_secret())));
}

#[test]
fn each_attempt_has_its_own_preshared_key() {
    let (mut one, mut two) = (pair(), pair());
    let (first, body) = granted(&mut one);
    let (second, _) = granted(&mut two);
    assert!(first != second);
    let opened = one.client.reply(&body).unwrap();
    assert!(opened.preshared_key(&one.client, &two.secret).unwrap() != first);
}

#[test]
fn a_request_opens_once_and_only_in_its_turn_and_channel() {
    let (mut one, mut two) = (pair(), pair());
    let first = one.client.request(&one.attempt, &answer()).unwrap();
    let second = one
        .client
        .request(&one.attempt, &Request::Cancel {})
        .unwrap();
    assert_eq!(
        open(&mut one.gate, &second),
        Err(ChannelError::NotAuthentic)
    );
    assert_eq!(open(&mut two.gate, &first), Err(ChannelError::NotAuthentic));
    assert_eq!(open(&mut one.gate, &first), Ok(answer()));
    assert_eq!(open(&mut one.gate, &first), Err(ChannelError::NotAuthentic));
    assert_eq!(open(&mut one.gate, &second), Ok(Request::Cancel {}));
}

#[test]
fn a_request_has_one_reply_and_a_counter_seals_no_second_text() {
    let mut pair = pair();
    let body = pair.client.request(&pair.attempt, &answer()).unwrap();
    let early = pair.gate.seal(&Reply::Done {});
    open(&mut pair.gate, &body).unwrap();
    let (grant, _) = pair.gate.grant(terms(), &pair.key).unwrap();
    let first = pair.gate.seal(&Reply::Done {});
    let second = pair.gate.seal(&Reply::Done {});
    assert_eq!(early, Err(ChannelError::NotAuthentic));
    assert!(first.is_ok());
    assert_eq!(second, Err(ChannelError::NotAuthentic));
    assert_eq!(pair.gate.seal_grant(grant), Err(ChannelError::NotAuthentic));
}

#[test]
fn a_reply_that_was_lost_is_read_when_it_comes_again() {
    let mut pair = pair();
    let request = pair.client.request(&pair.attempt, &answer()).unwrap();
    open(&mut pair.gate, &request).unwrap();
    let reply = pair.gate.seal(&Reply::Done {}).unwrap();
    let refused = pair.client.reply(&Unauthenticated::Unavailable.to_body());
    assert_eq!(
        refused.unwrap_err(),
        ChannelError::Refused(Unauthenticated::Unavailable)
    );
    assert_eq!(pair.client.reply(&reply).unwrap().reply, Reply::Done {});
}

#[test]
fn a_late_reply_is_not_taken_for_a_later_requests() {
    let mut pair = pair();
    let first = pair.client.request(&pair.attempt, &answer()).unwrap();
    open(&mut pair.gate, &first).unwrap();
    let reply = pair.gate.seal(&Reply::Done {}).unwrap();
    pair.client.request(&pair.attempt, &answer()).unwrap();
    assert_eq!(
        pair.client.reply(&reply).unwrap_err(),
        ChannelError::NotAuthentic
    );
    let mut relabelled = reply;
    relabelled[9] = 1;
    assert_eq!(
        pair.client.reply(&relabelled).unwrap_err(),
        ChannelError::NotAuthentic
    );
}

#[test]
fn what_one_end_sent_does_not_come_back_to_it() {
    let mut pair = pair();
    let request = pair.client.request(&pair.attempt, &answer()).unwrap();
    let reflected = [&[1, 2], &request[34..]].concat();
    assert_eq!(
        pair.client.reply(&reflected).unwrap_err(),
        ChannelError::NotAuthentic
    );
}

#[test]
fn a_second_message_for_another_handshake_is_refused() {
    let location = PrivateKey::generate().unwrap();
    let responder = Responder::new(location);
    let peer = PrivateKey::generate().unwrap();
    let (_, key) = DecapsulationSecret::generate().unwrap();
    let start = || Initiator::begin(&peer, &responder.public_key(), &begin(&key)).unwrap();
    let ((one, body), (two, _)) = (start(), start());
    let accepted = accept(&responder, &body).unwrap();
    let (_, reply) = accepted.pending.reply(&Reply::Done {}).unwrap();
    assert_eq!(two.finish(&reply).unwrap_err(), ChannelError::NotAuthentic);
    assert_eq!(one.finish(&reply).unwrap().1, Reply::Done {});
}

#[test]
fn a_grant_that_says_anything_else_derives_another_preshared_key() {
    let pair = pair();
    let derive = |terms: GrantTerms, share: u8| {
        let share = Share(Box::new([share; 32]));
        let kem = portable::encapsulate_with(&pair.key, &[7; 64]).unwrap();
        pair.gate.grant_with(terms, kem, share).unwrap().1
    };
    let psk = derive(terms(), 1);
    assert!(derive(terms(), 1) == psk);
    assert!(derive(terms(), 2) != psk);
    let mut longer = terms();
    longer.lease_ms += 1;
    assert!(derive(longer, 1) != psk);
    let mut elsewhere = terms();
    elsewhere.addresses.push("fd00::2/128".parse().unwrap());
    assert!(derive(elsewhere, 1) != psk);
}

#[test]
fn a_ciphertext_of_low_order_derives_nothing() {
    let mut pair = pair();
    let (_, body) = granted(&mut pair);
    let mut opened = pair.client.reply(&body).unwrap();
    if let Reply::Granted { grant } = &mut opened.reply {
        grant.ciphertext.0[1088..].fill(0);
    }
    let derived = opened.preshared_key(&pair.client, &pair.secret);
    assert_eq!(derived, Err(ChannelError::Ciphertext));
}

#[test]
fn an_encapsulation_key_that_is_none_is_granted_nothing() {
    let pair = pair();
    // Coefficients of ML-KEM are below 3329; these are 4095 (FIPS 203, section 7.2).
    let key = EncapsulationKey(Box::new([0xff; 1216]));
    let granted = pair.gate.grant(terms(), &key);
    assert_eq!(granted.unwrap_err(), ChannelError::EncapsulationKey);

    // It does not get that far: the hello that brings it is refused.
    let (peer, location) = (
        PrivateKey::generate().unwrap(),
        PrivateKey::generate().unwrap(),
    );
    let responder = Responder::new(location);
    let (_, body) = Initiator::begin(&peer, &responder.public_key(), &begin(&key)).unwrap();
    let refused = accept(&responder, &body).unwrap_err();
    assert_eq!(refused, Unauthenticated::Malformed);
}

#[test]
fn lengths_of_messages_do_not_tell_what_they_are() {
    let mut pair = pair();
    let mut request = |answer| {
        let request = Request::Answer { answer };
        let body = pair.client.request(&pair.attempt, &request).unwrap();
        open(&mut pair.gate, &body).unwrap();
        let reply = pair.gate.seal(&Reply::Done {}).unwrap();
        (body.len(), reply.len())
    };
    let password = |len| Answer::Password {
        password: SecretString::new("x".repeat(len)).unwrap(),
    };
    let lengths = request(password(1));
    assert_eq!(request(password(1000)), lengths);
    assert_eq!(
        request(Answer::Code {
            code: "123456".parse().unwrap()
        }),
        lengths
    );
    let (_, grant) = granted(&mut pair);
    assert_eq!(grant.len(), lengths.1);

    let (peer, location) = (
        PrivateKey::generate().unwrap(),
        PrivateKey::generate().unwrap().public_key(),
    );
    let first = |hello| Initiator::begin(&peer, &location, hello).unwrap().1.len();
    let end = Hello::End {
        sent_at: Timestamp::from_millis(7),
        session: SessionId::from_bytes([3; 16]),
    };
    assert_eq!(first(&end), first(&begin(&pair.key)));
}

#[test]
fn a_body_of_the_limit_is_taken_and_no_longer_one_is_made() {
    let mut pair = pair();
    let body = pair.client.request(&pair.attempt, &answer()).unwrap();
    open(&mut pair.gate, &body).unwrap();
    let mut challenge = challenge(pair.attempt);
    if let Reply::Challenge {
        factor: Some(offer),
        others,
        ..
    } = &mut challenge
    {
        let other = || offer.clone();
        *others = std::iter::repeat_with(other).take(1000).collect();
    }
    assert_eq!(pair.gate.seal(&challenge), Err(ChannelError::TooLong));
    let longest = [&[1, 1], vec![0; MAX_BODY - 2].as_slice()].concat();
    assert!(matches!(parse(&longest), Ok(Incoming::Handshake(_))));
}

#[test]
fn a_handshake_to_another_location_does_not_verify() {
    let peer = PrivateKey::generate().unwrap();
    let (here, there) = (
        PrivateKey::generate().unwrap(),
        PrivateKey::generate().unwrap(),
    );
    let (_, key) = DecapsulationSecret::generate().unwrap();
    let (_, body) = Initiator::begin(&peer, &there.public_key(), &begin(&key)).unwrap();
    let refused = accept(&Responder::new(here), &body).unwrap_err();
    assert_eq!(refused, Unauthenticated::Malformed);
}

#[test]
fn a_small_order_key_makes_no_channel() {
    let responder = Responder::new(PrivateKey::generate().unwrap());
    let zero = crate::key::PublicKey::from_bytes([0; 32]);
    let (_, key) = DecapsulationSecret::generate().unwrap();
    let made = Initiator::begin(&PrivateKey::generate().unwrap(), &zero, &begin(&key));
    // The gate's side sees such a key as the sender's ephemeral.
    let mut body = vec![1, 1];
    body.extend_from_slice(&[0; 200]);
    assert!(accept(&responder, &body).is_err());
    assert!(made.is_err());
}

#[test]
fn what_is_not_a_frame_of_this_version_is_told_apart() {
    for (body, refusal) in [
        (vec![], Unauthenticated::Malformed),
        (vec![1], Unauthenticated::Malformed),
        (vec![1, 9], Unauthenticated::Malformed),
        (vec![1, 2, 0], Unauthenticated::Malformed),
        (vec![2, 1, 0], Unauthenticated::Version),
        (vec![1; MAX_BODY + 1], Unauthenticated::TooLarge),
    ] {
        assert_eq!(parse(&body), Err(refusal));
    }
}

#[test]
fn a_refusal_without_a_channel_is_a_hint_and_reads_back() {
    for refusal in [
        Unauthenticated::Malformed,
        Unauthenticated::TooLarge,
        Unauthenticated::Version,
        Unauthenticated::NoAttempt,
        Unauthenticated::Unavailable,
    ] {
        let refused = pair().client.reply(&refusal.to_body()).unwrap_err();
        assert_eq!(refused, ChannelError::Refused(refusal));
    }
    assert_eq!(
        pair().client.reply(&[1, 0, 77]).unwrap_err(),
        ChannelError::NotAuthentic
    );
}

#[test]
fn an_unknown_or_doubled_value_is_an_error_and_not_a_default() {
    for json in [
        r#"{"type":"confirm","extra":1}"#,
        r#"{"type":"confirmed"}"#,
        r#"{"type":"answer"}"#,
        r#"{"type":"answer","answer":{"type":"code","code":"123456","x":0}}"#,
        r#"{"type":"answer","answer":{"type":"code","code":"12345"}}"#,
        r#"{"type":"answer","answer":{"type":"code","code":"123456"},"answer":{"type":"code","code":"123456"}}"#,
        r#"{"type":"confirm"} "x""#,
        r#"[]"#,
    ] {
        assert_eq!(
            json::from_json::<Request>(json.as_bytes()),
            Err(ChannelError::Unknown),
            "{json}"
        );
    }
    assert_eq!(
        json::from_json(br#"{"type":"confirm"}"#),
        Ok(Request::Confirm {})
    );
}

#[test]
fn no_secret_shows_in_debug() {
    let mut pair = pair();
    let (psk, body) = granted(&mut pair);
    let shown = format!(
        "{:?} {:?} {:?} {:?}",
        pair.secret,
        pair.gate,
        pair.client,
        answer()
    );
    let opened = pair.client.reply(&body).unwrap();
    let shown = format!("{shown} {opened:?} {psk:?}");
    let Reply::Granted { grant } = &opened.reply else {
        panic!("not a grant")
    };
    for secret in [psk.expose_secret(), &*grant.share.0] {
        assert!(!shown.contains(&format!("{secret:?}")));
        assert!(!shown.contains(&data_encoding::BASE64.encode(secret)));
    }
    assert!(!shown.contains("123456"));
}
