//! A security key in software, behind real CTAPHID packets: `passkey`'s authenticator, which shares
//! no code with what drives it. What is not seen here: the device's reports, which `hidapi`
//! carries, and PINs, which that authenticator does not have; it verifies its user by itself.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use passkey_transports::hid::{ChannelHandler, Command, Message};
use passkey_types::ctap2::{Ctap2Error, StatusCode};

use super::fuzzing::{CHANNEL, CREATE, GET, RP, Wire, answer};
use super::hid::CAN_CBOR;
use super::*;

use crate::passkey::SoftwareKey;

/// A device on a wire of its own.
struct Device {
    key: SoftwareKey,
    arriving: ChannelHandler,
    leaving: VecDeque<[u8; PACKET]>,
    manner: Manner,
}

/// What kind of device it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// As it should be.
    Honest,
    /// Says no more.
    Silent,
    /// Wants to be touched forever.
    Untouched,
    /// Knows only U2F.
    OnlyU2f,
    /// Answers with what is no CBOR.
    Garbled,
}

impl Device {
    fn with(key: SoftwareKey, manner: Manner) -> Box<Self> {
        Box::new(Self {
            key,
            arriving: ChannelHandler::default(),
            leaving: VecDeque::new(),
            manner,
        })
    }

    fn say(&mut self, channel: u32, command: Command, payload: &[u8]) {
        let message = Message::new(channel, command, payload).unwrap();
        message.send(&mut Wire(&mut self.leaving)).unwrap();
    }

    fn hear(&mut self, message: &Message) {
        match message.command {
            Command::Init => {
                let capabilities = if self.manner == Manner::OnlyU2f {
                    0
                } else {
                    CAN_CBOR
                };
                // Another program asks at the same time.
                let other = [[9; 8].as_slice(), &[5, 5, 5, 5], &[2, 0, 0, 0, CAN_CBOR]].concat();
                self.say(message.channel, Command::Init, &other);
                let own = [
                    message.payload.as_slice(),
                    &CHANNEL,
                    &[2, 0, 0, 0, capabilities],
                ];
                self.say(message.channel, Command::Init, &own.concat());
            }
            Command::Cbor => {
                assert_eq!(message.channel.to_ne_bytes(), CHANNEL);
                self.say(u32::from_ne_bytes([5; 4]), Command::Cbor, &[0x30]);
                if self.manner == Manner::Silent {
                    return;
                }
                // What it is, it says without its user.
                let statuses: &[u8] = if message.payload == [4] {
                    &[1]
                } else {
                    &[1, 2, 2]
                };
                for status in statuses {
                    self.say(message.channel, Command::KeepAlive, &[*status]);
                }
                if self.manner == Manner::Garbled && message.payload != [4] {
                    self.say(message.channel, Command::Cbor, &[0, 0xff, 0xff]);
                } else if self.manner != Manner::Untouched || message.payload == [4] {
                    let response = self.authenticate(&message.payload);
                    self.say(message.channel, Command::Cbor, &response);
                }
            }
            Command::Cancel | Command::Ping | Command::Err | Command::KeepAlive => {}
            Command::Wink | Command::Lock => unreachable!("no one asks for it"),
        }
    }

    /// One command of CTAP2 (section 6).
    fn authenticate(&self, request: &[u8]) -> Vec<u8> {
        let (command, body) = request.split_first().unwrap();
        let mut authenticator = self.key.authenticator();
        let response = match command {
            1 => at_once(authenticator.make_credential(read_cbor(body)))
                .unwrap()
                .map(|made| cbor(&made)),
            2 => at_once(authenticator.get_assertion(read_cbor(body)))
                .unwrap()
                .map(|got| cbor(&got)),
            4 => Ok(cbor(&*at_once(authenticator.get_info()).unwrap())),
            _ => Err(Ctap2Error::InvalidCommand.into()),
        };
        match response {
            Ok(body) => [vec![0], body].concat(),
            Err(status) => vec![StatusCode::into(status)],
        }
    }
}

impl Packets for Device {
    fn write(&mut self, packet: &[u8; PACKET]) -> io::Result<()> {
        if let Some(message) = self.arriving.handle_packet(packet) {
            self.hear(&message);
        }
        Ok(())
    }

    fn read(&mut self, _wait: Duration) -> io::Result<Option<[u8; PACKET]>> {
        if self.manner == Manner::Untouched && self.leaving.is_empty() {
            std::thread::sleep(Duration::from_millis(5));
            self.say(u32::from_ne_bytes(CHANNEL), Command::KeepAlive, &[2]);
        }
        Ok(self.leaving.pop_front())
    }
}

fn read_cbor<T: DeserializeOwned>(body: &[u8]) -> T {
    ciborium::from_reader(body).unwrap()
}

fn cbor<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).unwrap();
    bytes
}

/// Counts how often it is asked for a touch, and knows no PIN.
#[derive(Default)]
struct Hand(AtomicUsize);

impl Holder for Hand {
    fn pin(&self) -> Option<Zeroizing<String>> {
        None
    }

    fn touch(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn device(manner: Manner) -> Box<Device> {
    Device::with(SoftwareKey::at("https://gate.example.com"), manner)
}

fn creation(rp: &str, timeout: u32) -> String {
    serde_json::json!({ "publicKey": {
        "rp": { "id": rp, "name": "Gate" },
        "user": { "id": "CQk", "name": "alice", "displayName": "alice" },
        "challenge": "AAECAw",
        "pubKeyCredParams": [{ "type": "public-key", "alg": -7 }],
        "timeout": timeout,
        "authenticatorSelection": { "requireResidentKey": false, "userVerification": "required" },
    }})
    .to_string()
}

fn request(rp: &str, credential: &str) -> String {
    serde_json::json!({ "publicKey": {
        "challenge": "AAECAw",
        "rpId": rp,
        "allowCredentials": [{ "type": "public-key", "id": credential }],
        "userVerification": "required",
        "timeout": 60_000,
    }})
    .to_string()
}

/// The JSON in an answer.
fn credential(answer: Answer) -> serde_json::Value {
    let (Answer::WebAuthn { credential } | Answer::RegisterWebAuthn { credential }) = answer else {
        panic!("{answer:?}")
    };
    serde_json::from_str(credential.expose_secret()).unwrap()
}

#[test]
fn client_data_names_the_partys_origin_and_not_the_key() {
    let hand = Hand::default();
    let mut key = SecurityKey::over(RP, &hand, device(Manner::Honest));
    let created = credential(key.create(&creation(RP, 60_000)).unwrap());
    assert_eq!(hand.0.load(Ordering::Relaxed), 1, "asked for a touch, once");
    let member = |name: &str| {
        let text = created["response"][name].as_str().unwrap();
        BASE64URL_NOPAD.decode(text.as_bytes()).unwrap()
    };
    assert_eq!(
        String::from_utf8(member("clientDataJSON")).unwrap(),
        r#"{"type":"webauthn.create","challenge":"AAECAw","origin":"https://gate.example.com","crossOrigin":false}"#
    );
    let object: std::collections::BTreeMap<String, ciborium::Value> =
        read_cbor(&member("attestationObject"));
    assert_eq!(object["fmt"], ciborium::Value::Text("none".to_owned()));
    assert_eq!(object.len(), 3);
    let id = created["id"].as_str().unwrap();
    assert_eq!(created["rawId"], id);

    let got = credential(key.get(&request(RP, id)).unwrap());
    assert_eq!(got["id"], id);
    assert_eq!(got["type"], "public-key");
    assert_eq!(hand.0.load(Ordering::Relaxed), 2);
}

#[test]
fn another_partys_credential_is_not_asked_of_the_key() {
    let hand = Hand::default();
    let mut key = SecurityKey::over(RP, &hand, device(Manner::Honest));
    let refused = key.create(&creation("bank.example.com", 60_000));
    assert!(
        matches!(
            refused,
            Err(SecurityKeyError(SecurityKeyFault::OtherRelyingParty))
        ),
        "{refused:?}"
    );
    let refused = key.get(&request("bank.example.com", "BwcH"));
    assert!(
        matches!(
            refused,
            Err(SecurityKeyError(SecurityKeyFault::OtherRelyingParty))
        ),
        "{refused:?}"
    );
    assert_eq!(hand.0.load(Ordering::Relaxed), 0);
}

#[test]
fn a_key_that_is_not_enrolled_says_so() {
    let hand = Hand::default();
    let mut key = SecurityKey::over(RP, &hand, device(Manner::Honest));
    let refused = key.get(&request(RP, "BwcHBwcHBwcHBwcHBwcHBw"));
    assert!(
        matches!(
            refused,
            Err(SecurityKeyError(SecurityKeyFault::NoCredential))
        ),
        "{refused:?}"
    );
}

#[test]
fn a_key_that_is_never_touched_is_given_up_in_time() {
    let hand = Hand::default();
    let mut key = SecurityKey::over(RP, &hand, device(Manner::Untouched));
    let refused = key.create(&creation(RP, 200));
    assert!(
        matches!(refused, Err(SecurityKeyError(SecurityKeyFault::Declined))),
        "{refused:?}"
    );
}

#[test]
fn a_key_that_does_not_speak_as_it_should_is_no_panic() {
    let hand = Hand::default();
    for (manner, is_unsupported) in [
        (Manner::OnlyU2f, true),
        (Manner::Silent, true),
        (Manner::Garbled, false),
    ] {
        let mut key = SecurityKey::over(RP, &hand, device(manner));
        let refused = key.create(&creation(RP, 60_000)).unwrap_err();
        let is_expected = if is_unsupported {
            matches!(refused, SecurityKeyError(SecurityKeyFault::Unsupported))
        } else {
            matches!(refused, SecurityKeyError(SecurityKeyFault::Device(_)))
        };
        assert!(is_expected, "{refused:?}");
    }
}

#[test]
fn options_of_another_shape_are_not_passed_on() {
    let hand = Hand::default();
    let mut key = SecurityKey::over(RP, &hand, device(Manner::Honest));
    for text in ["", "{}", "[]"] {
        let created = key.create(text);
        assert!(
            matches!(created, Err(SecurityKeyError(SecurityKeyFault::Options(_)))),
            "{created:?}"
        );
        let got = key.get(text);
        assert!(
            matches!(got, Err(SecurityKeyError(SecurityKeyFault::Options(_)))),
            "{got:?}"
        );
    }
}

/// The verifier's half: a gate's questions to a security key, and what it says to the answers.
#[cfg(feature = "webauthn")]
mod at_a_gate {
    use super::*;
    use crate::assurance::FactorKind;
    use crate::channel::message::Challenge;
    use crate::factor::webauthn::{RelyingParty, WebAuthnVerifier};
    use crate::factor::{self, AttemptContext, Enrolling, MfaVerifier, Registration, Verdict};
    use crate::id::{AttemptId, FactorId};
    use crate::key::PublicKey;
    use crate::policy::Failures;
    use crate::seal::Sealed;
    use crate::store::{FactorRecord, FactorState};
    use crate::time::Timestamp;

    #[test]
    fn a_security_key_enrols_once_and_signs_in() {
        let verifier = WebAuthnVerifier::new(RelyingParty::new(RP).unwrap()).unwrap();
        let hand = Hand::default();
        let mut key = SecurityKey::over(RP, &hand, device(Manner::Honest));
        let user: crate::id::UserId = "alice".parse().unwrap();
        let attempt = AttemptContext {
            location: &"office".parse().unwrap(),
            location_key: &PublicKey::from_bytes([1; 32]),
            peer: &PublicKey::from_bytes([2; 32]),
            user: &user,
            id: &AttemptId::from_bytes([3; 32]),
            now: Timestamp::from_millis(1_000),
            expires: Timestamp::from_millis(301_000),
        };
        let enrolling = Enrolling::new(attempt, &[]);
        let asked = at_once(verifier.register(&enrolling)).unwrap().unwrap();
        let Challenge::RegisterWebAuthn { options } = asked.challenge else {
            panic!("{asked:?}");
        };
        let created = key.create(&options).unwrap();
        let enrolling = enrolling.remembering(asked.state.as_ref());
        let enrolled = at_once(verifier.enrol(&enrolling, &created)).unwrap();
        let Registration::Proven(credential) = enrolled.unwrap() else {
            panic!("there is nothing more to ask");
        };

        let record = FactorRecord {
            id: FactorId::from_bytes([1; 16]),
            user: user.clone(),
            kind: FactorKind::WEBAUTHN,
            label: "key".parse().unwrap(),
            sealed: Sealed::from_bytes(Vec::new()),
            state: FactorState::Active,
            last_counter: None,
            failures: Failures::default(),
            credential: credential.id,
        };
        let context = factor::Context::new(attempt, &record, &credential.secret);
        let asked = at_once(verifier.challenge(&context)).unwrap().unwrap();
        let Challenge::WebAuthn { options } = asked.challenge else {
            panic!("{asked:?}");
        };
        let got = key.get(&options).unwrap();
        let context = context.remembering(asked.state.as_ref());
        let verdict = at_once(verifier.verify(&context, &got)).unwrap().unwrap();
        assert!(matches!(verdict, Verdict::Proven(_)), "{verdict:?}");

        let known = [record.clone()];
        let again = at_once(verifier.register(&Enrolling::new(attempt, &known)));
        let Challenge::RegisterWebAuthn { options } = again.unwrap().unwrap().challenge else {
            panic!("a registration is asked for");
        };
        let refused = key.create(&options);
        assert!(
            matches!(
                refused,
                Err(SecurityKeyError(SecurityKeyFault::AlreadyEnrolled))
            ),
            "{refused:?}"
        );
    }
}

/// A device whose packets are kept, from when it has given a channel.
struct Recorded(Box<Device>, std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl Packets for Recorded {
    fn write(&mut self, packet: &[u8; PACKET]) -> io::Result<()> {
        self.0.write(packet)
    }

    fn read(&mut self, wait: Duration) -> io::Result<Option<[u8; PACKET]>> {
        let packet = self.0.read(wait)?;
        let of_a_channel = |packet: &[u8; PACKET]| packet[..4] != [0xff; 4];
        let kept = packet.iter().filter(|packet| of_a_channel(packet));
        self.1.lock().unwrap().extend(kept.flatten());
        Ok(packet)
    }
}

fn corpus() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus/security_key")
}

#[test]
fn the_fuzz_targets_seeds_are_right() {
    for (name, is_enrolment) in [("seed-create", true), ("seed-get", false)] {
        let answered = answer(&std::fs::read(corpus().join(name)).unwrap());
        let answered = credential(answered.expect(name));
        let response = &answered["response"];
        assert_eq!(response["attestationObject"].is_string(), is_enrolment);
        assert_eq!(response["signature"].is_string(), !is_enrolment);
    }
}

/// Rewrites them, and the question that one of them answers.
#[test]
#[ignore = "writes into tests/fuzz/corpus"]
fn write_the_fuzz_targets_seeds() {
    let hand = Hand::default();
    let said = std::sync::Arc::default();
    let recorded = Recorded(device(Manner::Honest), std::sync::Arc::clone(&said));
    let mut key = SecurityKey::over(RP, &hand, Box::new(recorded));
    std::fs::create_dir_all(corpus()).unwrap();
    let write = |name: &str, first: u8| {
        let seed = [vec![first], std::mem::take(&mut *said.lock().unwrap())].concat();
        std::fs::write(corpus().join(name), seed).unwrap();
    };
    let created = credential(key.create(CREATE).unwrap());
    write("seed-create", 1);
    let get = request(RP, created["id"].as_str().unwrap());
    key.get(&get).unwrap();
    write("seed-get", 0);
    let questions = "src/prove/webauthn/security_key/fuzzing/get.json";
    let questions = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(questions);
    std::fs::write(questions, get + "\n").unwrap();
    assert_ne!(GET, "");
}
