//! What a gate is made of.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::assurance::FactorKind;
use crate::authorise::Authoriser;
use crate::factor::MfaVerifier;
use crate::id::LocationId;
use crate::interface::{InterfaceBackend, InterfaceError};
use crate::key::{PrivateKey, PublicKey};
use crate::policy::{InvalidPolicy, Policy};
use crate::runtime::SystemClock;
use crate::seal::KeyRing;
use crate::store::{PeerStore, StoreError};
use crate::time::Clock;

/// What a gate is made of. [`GateConfig::new`] asks for what has no default.
#[non_exhaustive]
pub struct GateConfig {
    /// The location that the gate serves.
    pub location: LocationId,
    /// The interface's private key: the channel proves the gate by it.
    pub private_key: PrivateKey,
    /// The keys that seal what the store keeps.
    pub key_ring: KeyRing,
    /// The rules.
    pub policy: Policy,
    /// Where enrolments and sessions live.
    pub store: Arc<dyn PeerStore>,
    /// The WireGuard interface.
    pub interface: Arc<dyn InterfaceBackend>,
    /// One verifier for each kind of factor that the policy names.
    pub verifiers: Vec<Arc<dyn MfaVerifier>>,
    /// Asked after the factors and before each grant, where there is one.
    pub authoriser: Option<Arc<dyn Authoriser>>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How long the gate waits for others.
    pub timeouts: Timeouts,
    /// Peers of an adopted interface that this gate leaves alone, there or not: they pass without
    /// MFA, for as long as whoever put them there likes. It neither removes nor admits them. A
    /// lease guard around the interface shuts them out all the same.
    pub danger_unmanaged_peers: BTreeSet<PublicKey>,
}

impl GateConfig {
    /// A gate with the default policy, no verifier yet, and the system's clock.
    pub fn new(
        location: LocationId,
        private_key: PrivateKey,
        key_ring: KeyRing,
        store: Arc<dyn PeerStore>,
        interface: Arc<dyn InterfaceBackend>,
    ) -> Self {
        Self {
            location,
            private_key,
            key_ring,
            policy: Policy::default(),
            store,
            interface,
            verifiers: Vec::new(),
            authoriser: None,
            clock: Arc::new(SystemClock::new()),
            timeouts: Timeouts::default(),
            danger_unmanaged_peers: BTreeSet::new(),
        }
    }
}

/// How long the gate waits for others. What takes longer counts as failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeouts {
    /// One call of the store.
    pub store: Duration,
    /// One call of a verifier.
    pub verifier: Duration,
    /// One call of the authoriser.
    pub authoriser: Duration,
    /// One call of the interface.
    pub interface: Duration,
    /// One request, from its body to its response.
    pub request: Duration,
    /// A revocation, from the call to its end.
    pub revoke: Duration,
    /// A shutdown, until the interface goes down.
    pub shutdown: Duration,
    /// A start, until it counts as failed.
    pub start: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            store: seconds(5),
            verifier: seconds(10),
            authoriser: seconds(5),
            interface: seconds(5),
            request: seconds(30),
            revoke: seconds(30),
            shutdown: seconds(10),
            start: seconds(60),
        }
    }
}

/// Why a gate did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The policy could admit nobody, or for ever.
    #[error(transparent)]
    Policy(#[from] InvalidPolicy),
    /// The policy names a factor that no verifier serves, so that it could never be passed.
    #[error(
        "the policy names the factor `{kind}`, but no verifier serves it: add one, or take the factor out of the policy"
    )]
    NoVerifier {
        /// The factor's kind.
        kind: FactorKind,
    },
    /// The store can't be read. Every peer is off the interface.
    #[error("the gate can't read its store, so it admits nobody: mend the store and start again")]
    Store(#[source] StoreError),
    /// The interface can't be read.
    #[error(
        "the gate can't read its WireGuard interface, so it admits nobody: mend that and start again"
    )]
    Interface(#[source] InterfaceError),
    /// The store or the interface did not answer in time, or the interface could not be brought in
    /// line.
    #[error(
        "the gate could not bring its WireGuard interface in line with the store in time, so it admits nobody: see the log for which of the two did not answer, and start again"
    )]
    NotReconciled,
    /// The store, a verifier, the clock or the interface panicked. Every peer is off the interface.
    #[error(
        "the store, a verifier, the clock or the interface panicked, so the gate admits nobody: the panic's own text says where"
    )]
    Panicked,
}
