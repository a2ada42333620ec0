//! The walk of `CONTRIBUTING.md`, "Add a factor": a kind of factor that this crate does not know,
//! made with nothing but what it shows to everyone, through the suite and through a gate.
//!
//! The factor is a printed sheet of numbered codes, each good once and none after a later one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use hkdf::Hkdf;
use mfagate::assurance::{Assurance, FactorKind};
use mfagate::channel::message::{Answer, Challenge, Code, Denied, DeniedReason};
use mfagate::channel::{Transport, TransportError};
use mfagate::client::{AuthChallenge, Client, Profile, Prompt, PromptFailed, Response};
use mfagate::enrol::Registrar;
use mfagate::factor::{Context, IssuedChallenge, MfaVerifier, Proof, Verdict, VerifyError};
use mfagate::gate::{Gate, GateConfig};
use mfagate::interface::netstack::Netstack;
use mfagate::key::PrivateKey;
use mfagate::policy::Step;
use mfagate::seal::{KeyRing, RingKey, SecretBytes};
use mfagate::store::{AdminStore, MemoryStore, Peer};
use mfagate::testing::fake_interface::FakeInterface;
use mfagate::testing::verifier::{VerifierHarness, conformance};
use mfagate::time::SystemClock;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::other_digit;

// Step 1 of the walk.
const SHEET: FactorKind = FactorKind::new("example-sheet");

/// The code of a number: the number in four digits, and six that only the sheet's key makes of it.
fn line(key: &[u8], number: u64) -> Result<Code, VerifyError> {
    let mut bytes = [0; 8];
    Hkdf::<Sha256>::from_prk(key)
        .and_then(|prk| {
            let expanded = prk.expand(&number.to_be_bytes(), &mut bytes);
            expanded.map_err(|_| hkdf::InvalidPrkLength)
        })
        .map_err(|error| VerifyError::backend(error.to_string()))?;
    let digits = format!("{number:04}{:06}", u64::from_be_bytes(bytes) % 1_000_000);
    digits.parse().map_err(VerifyError::backend)
}

// Step 3 of the walk.
struct SheetVerifier;

#[async_trait]
impl MfaVerifier for SheetVerifier {
    fn kind(&self) -> FactorKind {
        SHEET
    }

    async fn challenge(&self, _: &Context<'_>) -> Result<IssuedChallenge, VerifyError> {
        Ok(Challenge::Code { digits: 10 }.into())
    }

    async fn verify(&self, context: &Context<'_>, answer: &Answer) -> Result<Verdict, VerifyError> {
        let key = context.secret.expose_secret();
        let Answer::Code { code } = answer else {
            return Err(VerifyError::Unfit);
        };
        let text = code.expose_secret();
        let number = text.get(..4).filter(|_| text.len() == 10);
        let number = number.and_then(|digits| digits.parse().ok());
        // A secret that can't be read comes first: it is no one's failure.
        let expected = line(key, number.unwrap_or(0))?;
        let number: u64 = number.ok_or(VerifyError::Unfit)?;
        let is_right = expected.expose_secret().as_bytes().ct_eq(text.as_bytes());
        if !bool::from(is_right) {
            return Err(VerifyError::Wrong);
        }
        if context
            .factor
            .last_counter
            .is_some_and(|last| number <= last)
        {
            return Err(VerifyError::Replayed);
        }
        let assurance = Assurance {
            replay_resistant: true,
            ..Assurance::least(SHEET, context.attempt.now)
        };
        let mut proof = Proof::new(context.factor.id, assurance);
        proof.counter = Some(number);
        Ok(proof.into())
    }
}

/// Sheets with a key each, for the suite.
struct Sheets(AtomicU8);

#[async_trait]
impl VerifierHarness for Sheets {
    type Authenticator = [u8; 32];

    fn verifier(&self) -> Arc<dyn MfaVerifier> {
        Arc::new(SheetVerifier)
    }

    async fn enrol(&self) -> ([u8; 32], SecretBytes) {
        let key = [self.0.fetch_add(1, Ordering::Relaxed); 32];
        (key, SecretBytes::new(key.to_vec()))
    }

    async fn answer(&self, key: &[u8; 32], _: &Context<'_>, _: &Challenge) -> Answer {
        let code = line(key, 7).expect("a code");
        Answer::Code { code }
    }

    fn tampered(&self, right: &Answer) -> Vec<Answer> {
        let Answer::Code { code } = right else {
            panic!("a code is asked for")
        };
        (0..10).map(|at| other_digit(code, at)).collect()
    }

    fn unfit(&self, _: &Challenge) -> Vec<Answer> {
        let code = "123456".parse().expect("digits");
        vec![Answer::Code { code }]
    }

    fn private(&self, key: &[u8; 32], right: &Answer) -> Vec<Vec<u8>> {
        let Answer::Code { code } = right else {
            panic!("a code is asked for")
        };
        vec![key.to_vec(), code.expose_secret().into()]
    }

    fn is_bound(&self) -> bool {
        false
    }

    fn too_late_after(&self) -> Option<Duration> {
        None
    }

    fn unreadable(&self) -> Vec<SecretBytes> {
        // HKDF takes any key that is as long as a hash, or longer.
        [vec![], vec![0], vec![0xff; 31]]
            .map(SecretBytes::new)
            .into()
    }
}

// Step 7 of the walk.
#[tokio::test(flavor = "multi_thread")]
async fn the_walks_verifier_conforms() {
    conformance(&Sheets(AtomicU8::new(1))).await;
}

/// A gate in this process, in the place of one behind a network.
struct Here(Gate);

#[async_trait]
impl Transport for Here {
    fn gate(&self) -> &str {
        "here"
    }

    async fn round_trip(&self, body: Vec<u8>) -> Result<Vec<u8>, TransportError> {
        let gate = "here".to_owned();
        let handled = self.0.handle(body, None).await;
        handled.map_err(|_| TransportError::Unreachable { gate })
    }
}

/// Someone with a sheet, who reads these numbers from it and then gives up.
struct Reader<'s> {
    key: &'s [u8],
    numbers: Vec<u64>,
    denied: Vec<Denied>,
}

#[async_trait]
impl Prompt for Reader<'_> {
    async fn answer(&mut self, question: &AuthChallenge) -> Result<Option<Response>, PromptFailed> {
        self.denied.extend(question.denied.clone());
        let Some(number) = self.numbers.pop() else {
            return Ok(None);
        };
        let code = line(self.key, number).map_err(PromptFailed::new)?;
        Ok(Some(Answer::Code { code }.into()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_walks_factor_admits_through_a_gate_once_for_each_code() {
    let ring = KeyRing::new("walk".parse().unwrap(), RingKey::generate().unwrap());
    let store: Arc<dyn AdminStore> = Arc::new(MemoryStore::new());
    let mut config = GateConfig::new(
        "office".parse().unwrap(),
        PrivateKey::generate().unwrap(),
        ring.clone(),
        store.clone(),
        Arc::new(FakeInterface::new()),
    );
    // Step 6 of the walk.
    config.verifiers.push(Arc::new(SheetVerifier));
    config.policy.steps = vec![Step::AnyOf(vec![SHEET])];
    let gate = Gate::start(config).await.unwrap();

    let user = "alice".parse().unwrap();
    let private_key = PrivateKey::generate().unwrap();
    let addresses = vec!["10.9.0.2/32".parse().unwrap()];
    let registrar = Registrar::new(store, ring, Arc::new(SystemClock::new()));
    registrar.put_user(&user, true).await.unwrap();
    let peer = Peer {
        location: gate.location().clone(),
        key: private_key.public_key(),
        user: user.clone(),
        allowed_ips: addresses.clone(),
        label: "laptop".parse().unwrap(),
        enabled: true,
    };
    registrar.put_peer(peer).await.unwrap();
    // Step 5 of the walk.
    let key = [5; 32];
    let secret = SecretBytes::new(key.to_vec());
    let label = "sheet in the safe".parse().unwrap();
    registrar
        .add_factor(&user, SHEET, &label, &secret, None)
        .await
        .unwrap();

    let netstack = Netstack::builder(private_key.clone()).address(addresses[0]);
    let netstack = netstack.build().await.unwrap();
    let profile = Profile {
        location: gate.location().clone(),
        location_key: gate.public_key(),
        control: Vec::new(),
        endpoint: "127.0.0.1:51820".parse().unwrap(),
        private_key,
        addresses,
        allowed_ips: vec!["10.9.0.0/24".parse().unwrap()],
        keepalive: None,
        dns: Vec::new(),
        mtu: None,
    };
    let client = Client::builder(profile)
        .interface(Arc::new(netstack))
        .transport(Arc::new(Here(gate.clone())))
        .build()
        .unwrap();
    let mut reader = Reader {
        key: &key,
        numbers: vec![7],
        denied: Vec::new(),
    };
    client.connect(&mut reader).await.unwrap();
    assert_eq!(gate.sessions().len(), 1);

    client.sign_out().await.unwrap();
    assert!(gate.sessions().is_empty());
    reader.numbers = vec![8, 6, 7];
    client.connect(&mut reader).await.unwrap();
    let reasons: Vec<_> = reader.denied.iter().map(|denied| denied.reason).collect();
    assert_eq!(reasons, [DeniedReason::Replayed, DeniedReason::Replayed]);
    assert_eq!(gate.sessions().len(), 1);
}

/// The section of `CONTRIBUTING.md` shows this file's own lines, and its numbered steps in order.
#[test]
fn the_walk_in_contributing_is_this_one() {
    let text = include_str!("../../../CONTRIBUTING.md");
    let section = text.split("\n## Add a factor\n").nth(1).expect("a section");
    let section = section.split("\n## ").next().expect("its text");
    let this = without_indents(include_str!("walk.rs"));
    let blocks: Vec<&str> = section.split("```").skip(1).step_by(2).collect();
    assert_eq!(blocks.len(), 4, "what the walk shows");
    for block in blocks {
        let code = without_indents(block.strip_prefix("rust").expect("Rust"));
        assert!(this.contains(code.trim()), "not in walk.rs:\n{code}");
    }
    for step in 1..=9 {
        let heading = format!("\n{step}. ");
        assert!(section.contains(&heading), "step {step}");
    }
}

fn without_indents(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines.join("\n")
}
