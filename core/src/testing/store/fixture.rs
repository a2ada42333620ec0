//! The cast of the checks: users, peers, factors and events by number, and how to read a trail.

use std::sync::Arc;
use std::time::Duration;

use crate::assurance::{Assurance, FactorKind};
use crate::audit::{AuditEvent, AuditKind, AuditRecord, verify};
use crate::id::{FactorId, Label, LocationId, SessionId, TokenId, UserId};
use crate::key::PublicKey;
use crate::policy::{Failures, Throttle};
use crate::seal::Sealed;
use crate::store::{
    AdminStore, ChangeSet, ChangeStream, EnrolmentToken, FactorEnrolment, FactorFailure,
    FactorRecord, FactorState, FactorUse, FailureReason, NewSession, OpenOutcome, Peer, StoreError,
    User,
};
use crate::time::Timestamp;

pub(super) type Store = Arc<dyn AdminStore>;

/// When the checks play.
pub(super) const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// A limit small enough to reach: two free tries, then 10 s, 20 s, and the end at five.
pub(super) const THROTTLE: Throttle = Throttle {
    free: 2,
    first_wait: Duration::from_secs(10),
    longest_wait: Duration::from_secs(60),
    disable_at: 5,
};

pub(super) const fn secs(n: u64) -> Timestamp {
    Timestamp::from_millis(START.as_millis() + n * 1000)
}

/// The last moment before.
pub(super) const fn before(time: Timestamp) -> Timestamp {
    Timestamp::from_millis(time.as_millis() - 1)
}

pub(super) fn location(n: u8) -> LocationId {
    format!("location {n}").parse().expect("a name")
}

pub(super) fn user(n: u8) -> UserId {
    format!("user{n}@example.org").parse().expect("a name")
}

pub(super) const fn key(n: u8) -> PublicKey {
    PublicKey::from_bytes([n; 32])
}

pub(super) const fn factor_id(n: u8) -> FactorId {
    FactorId::from_bytes([n; 16])
}

pub(super) const fn session_id(n: u8) -> SessionId {
    SessionId::from_bytes([n; 16])
}

pub(super) const fn token_id(n: u8) -> TokenId {
    TokenId::from_bytes([n; 16])
}

pub(super) fn sealed(text: &str) -> Sealed {
    Sealed::from_bytes(text.as_bytes().to_vec())
}

pub(super) const fn event(kind: AuditKind) -> AuditEvent {
    AuditEvent::new(START, kind)
}

pub(super) const fn wrong() -> AuditEvent {
    event(AuditKind::Denied {
        reason: FailureReason::Wrong,
    })
}

pub(super) fn admitted() -> AuditKind {
    AuditKind::Admitted {
        not_after: secs(3600),
        factors: vec![FactorKind::TOTP],
    }
}

pub(super) fn peer(n: u8) -> Peer {
    Peer {
        location: location(1),
        key: key(n),
        user: user(n),
        allowed_ips: vec![
            format!("10.9.0.{n}/32").parse().expect("a prefix"),
            format!("fd09::{n}/128").parse().expect("a prefix"),
        ],
        label: Label::from_stored(&format!("Laptop “{n}”")),
        enabled: true,
    }
}

pub(super) fn factor(n: u8, owner: u8) -> FactorRecord {
    FactorRecord {
        id: factor_id(n),
        user: user(owner),
        kind: FactorKind::TOTP,
        label: Label::from_stored(&format!("phone {n}")),
        credential: None,
        sealed: sealed("secret"),
        state: FactorState::Active,
        last_counter: None,
        failures: Failures::default(),
    }
}

pub(super) const fn factor_use(factor: u8, step: u64) -> FactorUse {
    FactorUse {
        factor: factor_id(factor),
        counter: Some(step),
        replace_secret: None,
        credential: None,
    }
}

/// An admission of peer `n` by factor `n`.
pub(super) fn new_session(id: u8, n: u8, step: u64) -> NewSession {
    let proven = Assurance {
        kind: FactorKind::TOTP,
        phishing_resistant: false,
        user_verified: false,
        replay_resistant: true,
        verifier_bound: false,
        hardware: false,
        authenticated_at: START,
    };
    NewSession {
        id: session_id(id),
        location: location(1),
        peer: key(n),
        user: user(n),
        allowed_ips: peer(n).allowed_ips,
        verified_at: START,
        not_after: secs(3600),
        renewable_until: secs(9000),
        psk: sealed("psk"),
        assurance: vec![proven],
        factor_uses: vec![factor_use(n, step)],
        throttle: THROTTLE,
        most_per_user: None,
        event: event(admitted()),
    }
}

/// An admission of peer `n` by what was passed.
pub(super) fn new_session_by(id: u8, n: u8, passed: FactorUse) -> NewSession {
    NewSession {
        factor_uses: vec![passed],
        ..new_session(id, n, 0)
    }
}

/// A token for any factor of the user, for a minute.
pub(super) fn token(n: u8, owner: u8) -> EnrolmentToken {
    EnrolmentToken {
        id: token_id(n),
        user: user(owner),
        digest: [n; 32],
        kinds: Vec::new(),
        not_after: secs(60),
        replaces: None,
    }
}

pub(super) const fn issued(n: u8) -> AuditEvent {
    event(AuditKind::TokenIssued {
        token: token_id(n),
        kinds: Vec::new(),
        not_after: secs(60),
    })
}

pub(super) const fn taken_back(n: u8) -> AuditEvent {
    let token = token_id(n);
    event(AuditKind::TokenRemoved { token })
}

/// The enrolment of factor `n` by its owner's peer with a token, and with nothing passed. The kind
/// of its event is another one than the store is to write.
pub(super) fn with_token(n: u8, owner: u8, token: u8) -> FactorEnrolment {
    FactorEnrolment {
        factor: factor(n, owner),
        location: location(1),
        peer: key(owner),
        token: Some(token_id(token)),
        factor_uses: Vec::new(),
        throttle: THROTTLE,
        at: START,
        event: event(AuditKind::FactorActivated),
    }
}

pub(super) fn failure(factor: u8, at: Timestamp) -> FactorFailure {
    FactorFailure {
        factor: factor_id(factor),
        at,
        throttle: THROTTLE,
        event: wrong(),
    }
}

pub(super) async fn put_user(store: &Store, n: u8, enabled: bool) {
    let id = user(n);
    let event = event(AuditKind::UserPut { enabled });
    let groups = Vec::new();
    let user = User {
        id,
        enabled,
        groups,
    };
    let put = store.put_user(user, event);
    put.await.expect("a user is put");
}

pub(super) async fn put_peer(store: &Store, peer: Peer) {
    let enabled = peer.enabled;
    let put = store.put_peer(peer, event(AuditKind::PeerPut { enabled }));
    put.await.expect("a peer is put");
}

pub(super) async fn add_factor(store: &Store, factor: FactorRecord) {
    let kind = factor.kind.clone();
    let add = store.add_factor(factor, event(AuditKind::FactorAdded { kind }));
    add.await.expect("a factor is added");
}

pub(super) async fn put_token(store: &Store, token: EnrolmentToken) {
    let put = store.put_token(token, issued(0));
    put.await.expect("a token is put");
}

/// User, peer and factor `n`, all enabled and active.
pub(super) async fn enrol(store: &Store, n: u8) {
    put_user(store, n, true).await;
    put_peer(store, peer(n)).await;
    add_factor(store, factor(n, n)).await;
}

/// An admission that must succeed; its generation.
pub(super) async fn admit(store: &Store, new: NewSession) -> u64 {
    match store.open_session(new).await.expect("the store works") {
        OpenOutcome::Opened { generation, .. } => generation.get(),
        refused @ (OpenOutcome::Replayed { .. }
        | OpenOutcome::Locked { .. }
        | OpenOutcome::FactorGone { .. }
        | OpenOutcome::Overtaken { .. }
        | OpenOutcome::CredentialTaken { .. }
        | OpenOutcome::PeerGone
        | OpenOutcome::TooMany) => panic!("should have been opened: {refused:?}"),
    }
}

/// How often the factor has failed.
pub(super) async fn count(store: &Store, n: u8) -> u32 {
    the_factor(store, n).await.failures.count
}

/// Factor `n`, no matter who has it.
pub(super) async fn the_factor(store: &Store, n: u8) -> FactorRecord {
    for user in store.users().await.expect("users are read") {
        let theirs = store.factors(&user.id).await.expect("factors are read");
        if let Some(factor) = theirs.into_iter().find(|f| f.id == factor_id(n)) {
            return factor;
        }
    }
    panic!("factor {n} is not in the store");
}

/// The whole trail, which must verify.
pub(super) async fn trail(store: &Store) -> Vec<AuditRecord> {
    let records = store.audit(1, usize::MAX).await.expect("the trail is read");
    verify(&records).expect("the chain verifies");
    records
}

/// The events that the store has appended since `before` records.
pub(super) async fn events_since(store: &Store, before: usize) -> Vec<AuditEvent> {
    let records = trail(store).await.into_iter();
    records.skip(before).map(|record| record.event).collect()
}

/// The next change, which must come.
pub(super) async fn next(stream: &mut ChangeStream) -> Result<ChangeSet, StoreError> {
    let item = std::future::poll_fn(|cx| stream.as_mut().poll_next(cx));
    tokio::time::timeout(Duration::from_secs(60), item)
        .await
        .expect("a change is told within a minute")
        .expect("the stream goes on until its error")
}

/// Takes changes until `enough` of them together.
pub(super) async fn changes_until(
    stream: &mut ChangeStream,
    enough: impl Fn(&ChangeSet) -> bool,
) -> ChangeSet {
    let mut all = ChangeSet::default();
    while !enough(&all) {
        let more = next(stream).await.expect("the stream goes on");
        all.sessions.extend(more.sessions);
        all.peers.extend(more.peers);
        all.users.extend(more.users);
    }
    all
}
