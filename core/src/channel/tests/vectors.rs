//! Known answers: `tests/vectors/channel.json`, for anyone who implements the protocol a second time.
//! `tests/vectors/check.py` is such an implementation.
//!
//! `UPDATE_VECTORS=1 cargo test -p mfagate vectors` rewrites the file.

use std::path::PathBuf;

use data_encoding::{BASE64, HEXLOWER};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::super::kem::portable::encapsulate_with;
use super::super::message::{Denied, DeniedReason};
use super::super::noise;
#[cfg(feature = "aws-lc")]
use super::super::resolver::aws_lc::AwsLc;
use super::super::resolver::portable::Portable;
use super::super::resolver::{Identity, Provider};
use super::super::responder::accept_with;
use super::*;

/// The file.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Vectors {
    noise: String,
    prologue: String,
    cases: Vec<Case>,
    refusals: Vec<Refused>,
}

/// One attempt from its first message to its preshared key. Bytes are hexadecimal, texts are JSON.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    client_private_key: String,
    client_public_key: String,
    client_ephemeral_private_key: String,
    location_private_key: String,
    location_public_key: String,
    gate_ephemeral_private_key: String,
    attempt: String,
    handshake_hash: String,
    bodies: Vec<Body>,
    kem: Kem,
    share: String,
    grant_sha256: String,
    preshared_key: String,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    from: String,
    counter: Option<u64>,
    text: String,
    body: String,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kem {
    seed: String,
    randomness: String,
    encapsulation_key: String,
    ciphertext: String,
    secret: String,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Refused {
    code: u8,
    body: String,
}

#[test]
fn the_channel_gives_the_known_answers() {
    let made = vectors::<Portable>();
    if std::env::var_os("UPDATE_VECTORS").is_some() {
        let mut text = serde_json::to_string_pretty(&made).unwrap();
        text.push('\n');
        std::fs::write(path(), text).unwrap();
    }
    let known = std::fs::read_to_string(path()).unwrap();
    assert_eq!(made, serde_json::from_str(&known).unwrap());
}

/// A published known answer of X-Wing: keys and ciphertexts by their SHA-256.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct XWing {
    source: String,
    seed: String,
    randomness: String,
    encapsulation_key_sha256: String,
    ciphertext_sha256: String,
    secret: String,
}

#[test]
fn x_wing_gives_the_published_answers_as_hpkes_kem_0x647a_too() {
    let known = std::fs::read_to_string(path().with_file_name("x_wing.json")).unwrap();
    let known: Vec<XWing> = serde_json::from_str(&known).unwrap();
    assert_eq!(known.len(), 5);
    for known in known {
        let bytes = |text: &String| HEXLOWER.decode(text.as_bytes()).unwrap();
        let seed = bytes(&known.seed).try_into().unwrap();
        let randomness = bytes(&known.randomness).try_into().unwrap();
        let (secret, key) = DecapsulationSecret::from_seed(&seed).unwrap();
        let (ciphertext, shared) = encapsulate_with(&key, &randomness).unwrap();
        let sha256 = |bytes: &[u8]| HEXLOWER.encode(&Sha256::digest(bytes));
        assert_eq!(sha256(&*key.0), known.encapsulation_key_sha256);
        assert_eq!(sha256(&*ciphertext.0), known.ciphertext_sha256);
        assert_eq!(HEXLOWER.encode(&*shared), known.secret, "{}", known.source);
        let opened = secret.decapsulate(&ciphertext).unwrap();
        assert_eq!(*opened, *shared, "{}", known.source);
    }
}

#[test]
#[cfg(feature = "aws-lc")]
fn every_provider_gives_the_same_answers() {
    assert_eq!(vectors::<AwsLc>(), vectors::<Portable>());
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/channel.json")
}

fn vectors<P: Provider>() -> Vectors {
    let refusals = [
        Unauthenticated::Malformed,
        Unauthenticated::TooLarge,
        Unauthenticated::Version,
        Unauthenticated::NoAttempt,
        Unauthenticated::Unavailable,
    ];
    Vectors {
        noise: noise::PATTERN.into(),
        prologue: String::from_utf8(noise::PROLOGUE.into()).unwrap(),
        cases: vec![sign_in::<P>(), renewal::<P>()],
        refusals: refusals
            .map(|refusal| refusal.to_body())
            .map(|body| Refused {
                code: body[2],
                body: HEXLOWER.encode(&body),
            })
            .into(),
    }
}

/// A wrong answer, then a right one.
fn sign_in<P: Provider>() -> Case {
    let wrong = Denied {
        reason: DeniedReason::Wrong,
        tries_left: 4,
        locked_for_ms: None,
    };
    let hello = |encapsulation_key| Hello::Begin {
        sent_at: Timestamp::from_millis(1_795_539_661_007),
        encapsulation_key,
        posture: Posture::default(),
    };
    let (script, attempt) = Script::<P>::new("sign_in", 0x10, &hello);
    let mut script = script.greet(&challenge(attempt));
    script.ask(&answer());
    script.deny(wrong);
    script.ask(&answer());
    script.grant()
}

/// A renewal without a factor.
fn renewal<P: Provider>() -> Case {
    let hello = |encapsulation_key| Hello::Renew {
        sent_at: Timestamp::from_millis(1_795_539_662_008),
        session: SessionId::from_bytes([3; 16]),
        encapsulation_key,
        posture: Posture::default(),
    };
    let (script, attempt) = Script::<P>::new("renewal", 0x80, &hello);
    let mut script = script.greet(&Reply::Confirm {
        attempt,
        expires_in_ms: 30_000,
    });
    script.ask(&Request::Confirm {});
    script.grant()
}

/// Secrets that no one draws: bytes that count up from a number.
fn counting<const N: usize>(from: u8) -> [u8; N] {
    let mut next = from;
    [(); N].map(|()| {
        let byte = next;
        next = next.wrapping_add(1);
        byte
    })
}

/// Both ends before the gate's greeting.
struct Script<P: Provider> {
    case: Case,
    initiator: Initiator,
    accepted: Accepted,
    secret: DecapsulationSecret,
    key: EncapsulationKey,
    provider: std::marker::PhantomData<P>,
    seed: u8,
}

/// Both ends after it.
struct Dialogue {
    case: Case,
    client: ClientSession,
    gate: GateSession,
    secret: DecapsulationSecret,
    key: EncapsulationKey,
    attempt: AttemptId,
    counter: u64,
    seed: u8,
}

impl<P: Provider> Script<P> {
    fn new(name: &str, seed: u8, hello: &dyn Fn(EncapsulationKey) -> Hello) -> (Self, AttemptId) {
        let private = PrivateKey::from_bytes(counting(seed));
        let location = PrivateKey::from_bytes(counting(seed + 1));
        let (client_ephemeral, gate_ephemeral) = (counting(seed + 2), counting(seed + 3));
        let attempt = AttemptId::from_bytes(counting(seed + 4));
        let (secret, key) = DecapsulationSecret::from_seed(&counting(seed + 5)).unwrap();
        let randomness: [u8; 64] = counting(seed + 6);
        let (ciphertext, kem_secret) = encapsulate_with(&key, &randomness).unwrap();

        let identity: Identity<P> = Identity::new(&private).unwrap();
        let state = noise::initiator(&identity, &location.public_key(), Some(&client_ephemeral));
        let hello = hello(key.clone());
        let (initiator, body) = Initiator::begin_with(state.unwrap(), &hello).unwrap();
        let identity: Identity<P> = Identity::new(&location).unwrap();
        let state = noise::responder(&identity, Some(&gate_ephemeral)).unwrap();
        let Ok(Incoming::Handshake(message)) = parse(&body) else {
            panic!("not a handshake")
        };
        let accepted = accept_with(state, message).unwrap();
        assert_eq!(accepted.peer, private.public_key());
        assert_eq!(accepted.hello, hello);

        let case = Case {
            name: name.into(),
            client_private_key: HEXLOWER.encode(private.expose_secret()),
            client_public_key: HEXLOWER.encode(private.public_key().as_bytes()),
            client_ephemeral_private_key: HEXLOWER.encode(&client_ephemeral),
            location_private_key: HEXLOWER.encode(location.expose_secret()),
            location_public_key: HEXLOWER.encode(location.public_key().as_bytes()),
            gate_ephemeral_private_key: HEXLOWER.encode(&gate_ephemeral),
            attempt: attempt.to_string(),
            handshake_hash: String::new(),
            bodies: vec![record("client", None, &hello, &body)],
            kem: Kem {
                seed: HEXLOWER.encode(&counting::<32>(seed + 5)),
                randomness: HEXLOWER.encode(&randomness),
                encapsulation_key: HEXLOWER.encode(&*key.0),
                ciphertext: HEXLOWER.encode(&*ciphertext.0),
                secret: HEXLOWER.encode(&*kem_secret),
            },
            share: HEXLOWER.encode(&counting::<32>(seed + 7)),
            grant_sha256: String::new(),
            preshared_key: String::new(),
        };
        let script = Self {
            case,
            initiator,
            accepted,
            secret,
            key,
            provider: std::marker::PhantomData,
            seed,
        };
        (script, attempt)
    }

    fn greet(mut self, reply: &Reply) -> Dialogue {
        let (gate, body) = self.accepted.pending.reply(reply).unwrap();
        let (client, read) = self.initiator.finish(&body).unwrap();
        assert_eq!(&read, reply);
        assert_eq!(client.transport.hash, gate.transport.hash);
        self.case.handshake_hash = HEXLOWER.encode(&gate.transport.hash);
        self.case.bodies.push(record("gate", None, reply, &body));
        Dialogue {
            attempt: self.case.attempt.parse().unwrap(),
            case: self.case,
            client,
            gate,
            secret: self.secret,
            key: self.key,
            counter: 0,
            seed: self.seed,
        }
    }
}

impl Dialogue {
    fn ask(&mut self, request: &Request) {
        let body = self.client.request(&self.attempt, request).unwrap();
        assert_eq!(open(&mut self.gate, &body).as_ref(), Ok(request));
        let record = record("client", Some(self.counter), request, &body);
        self.case.bodies.push(record);
    }

    fn deny(&mut self, denied: Denied) {
        let reply = Reply::Denied { denied };
        let body = self.gate.seal(&reply).unwrap();
        assert_eq!(self.client.reply(&body).unwrap().reply, reply);
        let record = record("gate", Some(self.counter), &reply, &body);
        self.case.bodies.push(record);
        self.counter += 1;
    }

    fn grant(mut self) -> Case {
        let randomness = counting(self.seed + 6);
        let share = Share(Box::new(counting(self.seed + 7)));
        let kem = encapsulate_with(&self.key, &randomness).unwrap();
        let (grant, psk) = self.gate.grant_with(terms(), kem, share).unwrap();
        let text = grant.plaintext.clone();
        let body = self.gate.seal_grant(grant).unwrap();
        let opened = self.client.reply(&body).unwrap();
        assert!(opened.preshared_key(&self.client, &self.secret).unwrap() == psk);
        let ciphertext = HEXLOWER.decode(self.case.kem.ciphertext.as_bytes());
        let ciphertext = BASE64.encode(&ciphertext.unwrap());
        let text = String::from_utf8(text.to_vec()).unwrap();
        assert!(text.contains(&ciphertext));
        self.case.grant_sha256 = HEXLOWER.encode(&Sha256::digest(&text));
        self.case.preshared_key = HEXLOWER.encode(psk.expose_secret());
        self.case.bodies.push(Body {
            from: "gate".into(),
            counter: Some(self.counter),
            text,
            body: HEXLOWER.encode(&body),
        });
        self.case
    }
}

fn record(from: &str, counter: Option<u64>, message: &impl Serialize, body: &[u8]) -> Body {
    let text = json::to_json(message).unwrap();
    Body {
        from: from.into(),
        counter,
        text: String::from_utf8(text.to_vec()).unwrap(),
        body: HEXLOWER.encode(body),
    }
}
