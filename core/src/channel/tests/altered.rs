//! Bodies that were changed on their way: none is taken in, and none gets in the way of the one
//! that was sent.

use proptest::prelude::*;

use super::*;

/// The body with one bit flipped, for each bit of it.
fn flipped(body: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..body.len() * 8).map(|bit| {
        let mut body = body.to_vec();
        body[bit / 8] ^= 1 << (bit % 8);
        body
    })
}

#[test]
fn any_flipped_bit_of_a_first_message_is_refused() {
    let responder = Responder::new(PrivateKey::from_bytes([5; 32]));
    let peer = PrivateKey::generate().unwrap();
    let hello = Hello::Status {
        sent_at: Timestamp::from_millis(7),
        session: SessionId::from_bytes([3; 16]),
    };
    let (_, body) = Initiator::begin(&peer, &responder.public_key(), &hello).unwrap();
    for other in flipped(&body) {
        assert!(accept(&responder, &other).is_err());
    }
    assert!(accept(&responder, &body).is_ok());
}

/// A request as a gate takes it in: the attempt that it names is how its channel is found.
fn deliver(pair: &mut Pair, body: &[u8]) -> Result<Request, ChannelError> {
    match parse(body)? {
        Incoming::Request { attempt, .. } if attempt != pair.attempt => {
            Err(Unauthenticated::NoAttempt.into())
        }
        Incoming::Request { .. } | Incoming::Handshake(_) => open(&mut pair.gate, body),
    }
}

#[test]
fn any_flipped_bit_of_a_request_or_a_reply_is_refused() {
    let mut pair = pair();
    let request = pair.client.request(&pair.attempt, &answer()).unwrap();
    for other in flipped(&request) {
        assert!(deliver(&mut pair, &other).is_err());
    }
    assert_eq!(deliver(&mut pair, &request), Ok(answer()));

    let reply = pair.gate.seal(&Reply::Done {}).unwrap();
    for other in flipped(&reply) {
        assert!(pair.client.reply(&other).is_err());
    }
    assert_eq!(pair.client.reply(&reply).unwrap().reply, Reply::Done {});
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_body_cut_short_or_drawn_out_is_refused(
        at in any::<prop::sample::Index>(),
        more in prop::collection::vec(any::<u8>(), 1..40),
    ) {
        let mut pair = pair();
        let responder = Responder::new(PrivateKey::from_bytes([5; 32]));
        let peer = PrivateKey::generate().unwrap();
        let (_, hello) =
            Initiator::begin(&peer, &responder.public_key(), &begin(&pair.key)).unwrap();
        let request = pair.client.request(&pair.attempt, &answer()).unwrap();
        let changed = |body: &[u8]| {
            let cut = body[..at.index(body.len())].to_vec();
            [cut, [body, &more].concat()]
        };
        for hello in changed(&hello) {
            prop_assert!(accept(&responder, &hello).is_err());
        }
        for request in changed(&request) {
            prop_assert!(open(&mut pair.gate, &request).is_err());
        }
        open(&mut pair.gate, &request).unwrap();
        let reply = pair.gate.seal(&Reply::Done {}).unwrap();
        for reply in changed(&reply) {
            prop_assert!(pair.client.reply(&reply).is_err());
        }
    }

    #[test]
    fn one_flipped_bit_in_a_second_message_is_refused(
        at in any::<prop::sample::Index>(),
        bit in 0_u8..8,
    ) {
        let responder = Responder::new(PrivateKey::from_bytes([5; 32]));
        let peer = PrivateKey::generate().unwrap();
        let (_, key) = DecapsulationSecret::generate().unwrap();
        let (initiator, hello) =
            Initiator::begin(&peer, &responder.public_key(), &begin(&key)).unwrap();
        let accepted = accept(&responder, &hello).unwrap();
        let (_, mut body) = accepted.pending.reply(&Reply::Done {}).unwrap();
        let index = at.index(body.len());
        body[index] ^= 1 << bit;
        prop_assert!(initiator.finish(&body).is_err());
    }

    #[test]
    fn no_body_makes_the_parsers_panic(body in prop::collection::vec(any::<u8>(), 0..400)) {
        let responder = Responder::new(PrivateKey::from_bytes([5; 32]));
        let _ = accept(&responder, &body);
        let _ = pair().client.reply(&body);
        let _ = json::from_json::<Hello>(&body);
    }
}
