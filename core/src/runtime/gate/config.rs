//! What a gate is made of.

use std::collections::BTreeSet;
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use super::LocationRegistrar;
use crate::assurance::FactorKind;
use crate::audit::{Head, HeadFile, HeadFileError};
use crate::authorise::Authoriser;
use crate::factor::MfaVerifier;
use crate::id::LocationId;
use crate::interface::{InterfaceBackend, InterfaceError};
use crate::key::{PrivateKey, PublicKey};
use crate::policy::{InvalidPolicy, Policy};
use crate::runtime::SystemClock;
use crate::seal::{KeyRing, SealError};
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
    /// Where the gate writes down what it last saw of the store's audit chain, to know an older copy
    /// of the store at the next start. Keep it beside the key ring, away from the store. `None`: an
    /// older copy is not noticed at a start.
    pub head_file: Option<HeadFile>,
    /// Starts on a store that is older than it was when a gate last saw it: what was revoked,
    /// disabled, used or counted since is undone. The sessions that it holds end. For one start,
    /// where no newer copy is left.
    pub danger_accept_older_store: bool,
    /// Peers of an adopted interface that this gate leaves alone, there or not: they pass without
    /// MFA, for as long as they are there. The gate neither removes nor admits them. A lease guard
    /// around the interface still shuts them out.
    pub danger_unmanaged_peers: BTreeSet<PublicKey>,
    /// The gate's registrar: only a builder knows that its store can be administered.
    pub(super) registrar: Option<LocationRegistrar>,
    /// Held until the gate has stopped: no other gate serves from the same folder.
    pub(super) locks: Vec<File>,
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
            head_file: None,
            danger_accept_older_store: false,
            danger_unmanaged_peers: BTreeSet::new(),
            registrar: None,
            locks: Vec::new(),
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

crate::error_code::opaque! {
    /// Why a gate did not start.
    pub struct StartError(StartFault);
}

/// What is behind [`StartError`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartFault {
    /// The policy could admit no one, or without end.
    #[error(transparent)]
    Policy(#[from] InvalidPolicy),
    /// No interface was given.
    #[error("the gate has no WireGuard interface: give it one")]
    NoInterface,
    /// The policy names a factor that no verifier serves, so that it could never be passed.
    #[error(
        "the policy names the factor `{kind}`, but no verifier serves it: add one, or take the factor out of the policy"
    )]
    NoVerifier {
        /// The factor's kind.
        kind: FactorKind,
    },
    /// The store can't be read. Every peer is off the interface.
    #[error("the gate can't read its store, so it admits no one: fix the store and start again")]
    Store(#[source] StoreError),
    /// The store does not have the audit record that a gate last saw. No session has ended. Every
    /// peer is off the interface.
    #[error(
        "the store is older than it was, or another: a gate last saw it at {seen}, and it ends at {found} without that; put the newest copy in its place and start again; to go on with this one, in which revocations, used codes and counted failures since are undone, start once with danger_accept_older_store"
    )]
    OlderStore {
        /// The head that was last seen.
        seen: Head,
        /// The head that the store has.
        found: Head,
    },
    /// What was last seen of the store can't be read or written down.
    #[error("the gate can't tell whether its store is an older copy, so it admits no one")]
    HeadFile(#[from] HeadFileError),
    /// Nothing that is in the store opens with this key ring: it belongs to another store, or the
    /// store to another ring. No session has ended. Every peer is off the interface.
    #[error(
        "nothing that the store keeps opens with this key ring, so the gate admits no one, and has ended no session: start it with the ring that belongs to this store, from a backup if need be; where that ring is lost, revoke all sessions and remove all factors, since they can never be opened again"
    )]
    WrongKeyRing(#[source] SealError),
    /// The interface can't be read.
    #[error(
        "the gate can't read its WireGuard interface, so it admits no one: fix the interface and start again"
    )]
    Interface(#[source] InterfaceError),
    /// The store or the interface did not answer in time, or the interface could not be brought in
    /// line.
    #[error(
        "the gate could not bring its WireGuard interface in line with the store in time, so it admits no one: see the log for which of the two did not answer, and start again"
    )]
    NotReconciled,
    /// The store, a verifier, the clock or the interface panicked. Every peer is off the interface.
    #[error(
        "the store, a verifier, the clock or the interface panicked, so the gate admits no one: the panic's own text says where"
    )]
    Panicked,
}
