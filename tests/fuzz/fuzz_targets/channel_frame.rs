//! Bodies as a gate takes them in from anyone: frames, first messages, requests of an attempt.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use mfagate::channel::engine::{Incoming, Responder, parse};
use mfagate::channel::{MAX_BODY, Unauthenticated};
use mfagate::key::PrivateKey;

static RESPONDER: LazyLock<Responder> =
    LazyLock::new(|| Responder::new(PrivateKey::from_bytes([5; 32])));

fuzz_target!(|body: &[u8]| {
    match parse(body) {
        Ok(Incoming::Handshake(message)) => {
            assert_eq!(message, &body[2..]);
            // No one but a holder of a private key makes a first message that verifies.
            assert_eq!(
                RESPONDER.accept(message).err(),
                Some(Unauthenticated::Malformed)
            );
        }
        Ok(Incoming::Request {
            attempt,
            counter,
            ciphertext,
        }) => {
            let again = [
                &[1, 2],
                attempt.as_bytes().as_slice(),
                &counter.to_be_bytes(),
                ciphertext,
            ]
            .concat();
            assert_eq!(again, body);
        }
        Ok(_) => panic!("a kind of frame that this target does not know"),
        Err(Unauthenticated::TooLarge) => assert!(body.len() > MAX_BODY),
        Err(Unauthenticated::Version) => assert_ne!(body[0], 1),
        Err(refusal) => assert_eq!(refusal, Unauthenticated::Malformed),
    }
});
