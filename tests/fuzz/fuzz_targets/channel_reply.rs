//! What a client takes in: bodies from anyone, and texts from a gate that may be hostile.
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use mfagate::channel::engine::{
    ClientSession, Hello, Incoming, Initiator, Reply, Responder, parse,
};
use mfagate::id::SessionId;
use mfagate::key::PrivateKey;
use mfagate::time::Timestamp;

thread_local! {
    static SESSION: RefCell<ClientSession> = RefCell::new(session());
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(reply) = Reply::from_json(bytes) {
        let again = serde_json::to_vec(&reply).expect("a message can be written");
        assert_eq!(Reply::from_json(&again), Ok(reply));
    }
    // No one but the gate makes a reply that verifies.
    SESSION.with_borrow_mut(|session| assert!(session.reply(bytes).is_err()));
});

/// A client with a request under way.
fn session() -> ClientSession {
    let responder = Responder::new(PrivateKey::from_bytes([5; 32]));
    let hello = Hello::Status {
        sent_at: Timestamp::from_millis(0),
        session: SessionId::from_bytes([3; 16]),
    };
    let key = PrivateKey::from_bytes([6; 32]);
    let (initiator, body) =
        Initiator::begin(&key, &responder.public_key(), &hello).expect("the keys are usable");
    let Ok(Incoming::Handshake(message)) = parse(&body) else {
        panic!("a first message is a handshake");
    };
    let accepted = responder.accept(message).expect("it verifies");
    let (_, body) = accepted
        .pending
        .reply(&Reply::Done {})
        .expect("it can be written");
    let (mut session, _) = initiator.finish(&body).expect("it verifies");
    let attempt = mfagate::id::AttemptId::from_bytes([9; 32]);
    let request = mfagate::channel::engine::Request::Confirm {};
    session
        .request(&attempt, &request)
        .expect("it can be written");
    session
}
