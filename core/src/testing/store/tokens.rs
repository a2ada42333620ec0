//! Enrolment tokens, and enrolling from a client.

use tokio::task::JoinSet;

use super::fixture::*;
use crate::assurance::FactorKind;
use crate::audit::AuditKind;
use crate::id::{CredentialId, TokenId};
use crate::store::{
    Enrolled, EnrolmentToken, FactorEnrolment, FactorRecord, FactorUse, OpenOutcome, Peer,
    SecretReplacement, StoreError,
};

async fn enrol_factor(store: &Store, new: FactorEnrolment) -> Enrolled {
    store.enrol_factor(new).await.expect("the store works")
}

async fn tokens(store: &Store, n: u8) -> Vec<TokenId> {
    let tokens = store.tokens(&user(n)).await.expect("tokens are read");
    tokens.into_iter().map(|token| token.id).collect()
}

/// What the user has is what it was.
async fn is_unchanged(store: &Store, n: u8, factors: &[FactorRecord], tokens_left: &[TokenId]) {
    let found = store.factors(&user(n)).await.expect("factors are read");
    assert_eq!(found, factors, "a refusal adds and takes nothing");
    assert_eq!(tokens(store, n).await, tokens_left, "and uses no token up");
}

pub(super) async fn tokens_read_back_until_they_are_taken_back(store: Store) {
    let orphan = store.put_token(token(1, 1), issued(1)).await;
    assert!(matches!(orphan, Err(StoreError::UnknownUser)));
    enrol(&store, 1).await;
    enrol(&store, 2).await;
    let first = EnrolmentToken {
        kinds: vec![FactorKind::DEVICE_KEY, FactorKind::TOTP],
        not_after: START,
        digest: [0xfe; 32],
        ..token(9, 1)
    };
    for token in [first.clone(), token(3, 1), token(4, 2)] {
        put_token(&store, token).await;
    }
    let again = store.put_token(token(3, 2), issued(3)).await;
    assert!(matches!(again, Err(StoreError::Conflict)), "an id is new");

    let theirs = store.tokens(&user(1)).await.expect("tokens are read");
    let expected = [first, token(3, 1)];
    assert_eq!(theirs, expected, "in the order of issue, whole");
    let enrolment = store.enrolment(&location(1), &key(1)).await;
    let enrolment = enrolment.expect("it is read").expect("it is there");
    assert_eq!(enrolment.tokens, expected, "an enrolment has them too");

    let recorded = trail(&store).await.len();
    for (n, was_there) in [(9, true), (9, false), (7, false)] {
        let removed = store.remove_token(token_id(n), taken_back(n)).await;
        assert_eq!(removed.expect("the store works"), was_there);
    }
    assert_eq!(tokens(&store, 1).await, [token_id(3)]);
    let events = events_since(&store, recorded).await;
    assert_eq!(events.len(), 1, "what was not there leaves no record");
    assert_eq!(events[0].user, Some(user(1)), "the store fills in whose");
}

pub(super) async fn a_token_enrols_one_factor(store: Store) {
    put_user(&store, 1, true).await;
    put_peer(&store, peer(1)).await;
    put_token(&store, token(1, 1)).await;
    put_token(&store, token(2, 1)).await;
    let recorded = trail(&store).await.len();

    let new = with_token(5, 1, 1);
    let factor = new.factor.clone();
    assert_eq!(enrol_factor(&store, new).await, Enrolled::Enrolled);
    let found = store.factors(&user(1)).await.expect("factors are read");
    assert_eq!(
        found,
        std::slice::from_ref(&factor),
        "the factor is there, whole"
    );
    assert_eq!(tokens(&store, 1).await, [token_id(2)], "the token is not");
    let again = enrol_factor(&store, with_token(6, 1, 1)).await;
    assert_eq!(again, Enrolled::TokenGone);
    is_unchanged(&store, 1, &[factor], &[token_id(2)]).await;

    let events = events_since(&store, recorded).await;
    let kind = AuditKind::FactorEnrolled {
        kind: FactorKind::TOTP,
        token: Some(token_id(1)),
    };
    let [enrolled, refused] = events.as_slice() else {
        panic!("each attempt has its record: {events:?}");
    };
    assert_eq!(enrolled.kind, kind, "the use of a token is on record");
    assert_eq!(enrolled.factor, Some(factor_id(5)));
    let who = (Some(location(1)), Some(key(1)), Some(user(1)));
    let of = enrolled.clone();
    assert_eq!((of.location, of.peer, of.user), who);
    assert_eq!(refused.kind, AuditKind::NotEligible);
    admit(&store, new_session_by(1, 1, factor_use(5, 1))).await;
}

pub(super) async fn a_token_is_good_for_its_user_its_kinds_and_its_time(store: Store) {
    enrol(&store, 1).await;
    enrol(&store, 2).await;
    let keys_only = EnrolmentToken {
        kinds: vec![FactorKind::DEVICE_KEY],
        ..token(1, 1)
    };
    put_token(&store, keys_only).await;
    put_token(&store, token(2, 2)).await;
    put_token(&store, token(3, 1)).await;
    let mut late = with_token(5, 1, 3);
    late.at = secs(60);
    let bare = FactorEnrolment {
        token: None,
        ..with_token(5, 1, 3)
    };
    for (new, why) in [
        (with_token(5, 1, 1), "of other kinds"),
        (with_token(5, 1, 2), "another user's"),
        (with_token(5, 1, 9), "unknown"),
        (late, "over"),
        (bare, "none, and no factor that was passed"),
    ] {
        let refused = enrol_factor(&store, new).await;
        assert_eq!(refused, Enrolled::TokenGone, "{why}");
    }
    let left = [token_id(1), token_id(3)];
    is_unchanged(&store, 1, &[factor(1, 1)], &left).await;
    assert_eq!(tokens(&store, 2).await, [token_id(2)]);

    let mut key = with_token(5, 1, 1);
    key.factor.kind = FactorKind::DEVICE_KEY;
    assert_eq!(enrol_factor(&store, key).await, Enrolled::Enrolled);
    let mut just = with_token(6, 1, 3);
    just.at = before(secs(60));
    assert_eq!(enrol_factor(&store, just).await, Enrolled::Enrolled);
}

pub(super) async fn a_token_is_used_once_in_parallel(store: Store) {
    enrol(&store, 1).await;
    put_token(&store, token(1, 1)).await;
    let mut calls = JoinSet::new();
    for id in 101..=116 {
        let store = store.clone();
        calls.spawn(async move { store.enrol_factor(with_token(id, 1, 1)).await });
    }
    let outcomes = calls.join_all().await;
    let enrolled = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Ok(Enrolled::Enrolled)))
        .count();
    assert_eq!(enrolled, 1, "one token, one factor: {outcomes:?}");
    let factors = store.factors(&user(1)).await.expect("factors are read");
    assert_eq!(factors.len(), 2);
    assert!(tokens(&store, 1).await.is_empty());
}

pub(super) async fn an_enrolment_takes_what_was_passed(store: Store) {
    enrol(&store, 1).await;
    let counted = store.record_failure(failure(1, START)).await;
    counted.expect("a failure is counted");
    let passed = FactorUse {
        replace_secret: Some(swap("secret", "fresh")),
        ..factor_use(1, 7)
    };
    let by_factor = |id, consume| FactorEnrolment {
        token: None,
        factor_uses: vec![consume],
        ..with_token(id, 1, 1)
    };
    let recorded = trail(&store).await.len();
    let enrolled = enrol_factor(&store, by_factor(5, passed)).await;
    assert_eq!(enrolled, Enrolled::Enrolled, "no token is needed");
    let taken = the_factor(&store, 1).await;
    assert_eq!((taken.last_counter, taken.failures.count), (Some(7), 0));
    assert_eq!(taken.sealed, sealed("fresh"));
    let kind = AuditKind::FactorEnrolled {
        kind: FactorKind::TOTP,
        token: None,
    };
    assert_eq!(events_since(&store, recorded).await[0].kind, kind);

    let replayed = enrol_factor(&store, by_factor(6, factor_use(1, 7))).await;
    assert!(matches!(replayed, Enrolled::Replayed { factor, .. } if factor == factor_id(1)));
    let replayed = store.open_session(new_session(1, 1, 7)).await;
    assert!(
        matches!(replayed, Ok(OpenOutcome::Replayed { .. })),
        "what enrolled a factor admits no one"
    );
    assert_eq!(count(&store, 1).await, 2);
    let factors = store.factors(&user(1)).await.expect("factors are read");
    assert_eq!(factors.len(), 2);
}

pub(super) async fn a_factor_takes_the_place_of_another_and_ends_what_that_opened(store: Store) {
    enrol(&store, 1).await;
    enrol(&store, 2).await;
    let in_the_place_of = |n: u8, old: u8| EnrolmentToken {
        replaces: Some(factor_id(old)),
        ..token(n, 1)
    };
    // Another user's, and one that is gone already, stay what they are.
    for (n, old) in [(1, 2), (2, 99), (3, 1)] {
        put_token(&store, in_the_place_of(n, old)).await;
    }
    assert_eq!(tokens(&store, 1).await.len(), 3);
    let read = store.tokens(&user(1)).await.expect("tokens are read");
    assert_eq!(read[2].replaces, Some(factor_id(1)));
    for n in [1, 2] {
        let enrolled = enrol_factor(&store, with_token(10 + n, 1, n)).await;
        assert_eq!(enrolled, Enrolled::Enrolled);
    }
    assert_eq!(the_factor(&store, 2).await, factor(2, 2));
    admit(&store, new_session(1, 1, 7)).await;
    admit(&store, new_session(2, 2, 7)).await;

    let recorded = trail(&store).await.len();
    let mut refused = with_token(13, 1, 3);
    refused.at = secs(60);
    assert_eq!(enrol_factor(&store, refused).await, Enrolled::TokenGone);
    assert_eq!(
        the_factor(&store, 1).await.last_counter,
        Some(7),
        "it is over"
    );
    let enrolled = enrol_factor(&store, with_token(13, 1, 3)).await;
    assert_eq!(enrolled, Enrolled::Enrolled);
    let factors = store.factors(&user(1)).await.expect("factors are read");
    let factors: Vec<_> = factors.iter().map(|factor| factor.id).collect();
    assert_eq!(factors, [11, 12, 13].map(factor_id));
    let live = store.live_sessions(&location(1)).await.expect("works");
    let live: Vec<_> = live.iter().map(|session| session.id).collect();
    assert_eq!(live, [session_id(2)]);
    let events = events_since(&store, recorded + 1).await;
    let (kind, token) = (FactorKind::TOTP, Some(token_id(3)));
    let reason = crate::store::EndReason::FactorChanged;
    let said: Vec<_> = events.into_iter().map(|it| (it.kind, it.factor)).collect();
    let expected = [
        (
            AuditKind::FactorEnrolled { kind, token },
            Some(factor_id(13)),
        ),
        (AuditKind::FactorRemoved, Some(factor_id(1))),
        (AuditKind::Ended { reason }, Some(factor_id(1))),
    ];
    assert_eq!(said, expected);
}

pub(super) async fn a_credential_is_enrolled_once(store: Store) {
    enrol(&store, 1).await;
    enrol(&store, 2).await;
    put_token(&store, token(1, 1)).await;
    let credential = CredentialId::new(vec![0, 0xff, 7]);
    let having = |factor: FactorRecord| FactorRecord {
        credential: credential.clone(),
        ..factor
    };
    add_factor(&store, having(factor(3, 2))).await;
    assert_eq!(the_factor(&store, 3).await, having(factor(3, 2)));
    let recorded = trail(&store).await.len();

    let mut new = with_token(5, 1, 1);
    new.factor = having(new.factor);
    new.factor_uses = vec![factor_use(1, 7)];
    let refused = enrol_factor(&store, new.clone()).await;
    assert_eq!(refused, Enrolled::CredentialTaken, "anyone who has it");
    is_unchanged(&store, 1, &[factor(1, 1)], &[token_id(1)]).await;
    let kinds = events_since(&store, recorded).await;
    assert_eq!(kinds.len(), 1);
    assert_eq!(kinds[0].kind, AuditKind::NotEligible);

    let added = |factor| {
        let kind = FactorKind::TOTP;
        store.add_factor(factor, event(AuditKind::FactorAdded { kind }))
    };
    let taken = added(having(factor(4, 1))).await;
    assert!(matches!(taken, Err(StoreError::CredentialTaken)));
    assert_eq!(trail(&store).await.len(), recorded + 1, "and has no record");

    let of_another_kind = FactorRecord {
        kind: FactorKind::WEBAUTHN,
        ..having(factor(4, 1))
    };
    added(of_another_kind)
        .await
        .expect("another kind's is free");
    let removed = store
        .remove_factor(
            factor_id(3),
            crate::store::LastFactor::Keep,
            event(AuditKind::FactorRemoved),
        )
        .await;
    assert!(removed.expect("the store works"));
    let freed = enrol_factor(&store, new).await;
    assert_eq!(freed, Enrolled::Enrolled, "a removed factor's is free");
}

pub(super) async fn a_credential_is_enrolled_once_in_parallel(store: Store) {
    enrol(&store, 1).await;
    let mut calls = JoinSet::new();
    for id in 101..=116 {
        let store = store.clone();
        put_token(&store, token(id, 1)).await;
        let mut new = with_token(id, 1, id);
        new.factor.credential = CredentialId::new(vec![7]);
        calls.spawn(async move { store.enrol_factor(new).await });
    }
    let outcomes = calls.join_all().await;
    let enrolled = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Ok(Enrolled::Enrolled)))
        .count();
    assert_eq!(enrolled, 1, "{outcomes:?}");
    assert_eq!(tokens(&store, 1).await.len(), 15, "the others keep theirs");
}

pub(super) async fn an_enrolment_needs_its_peer_and_new_ids(store: Store) {
    enrol(&store, 1).await;
    enrol(&store, 2).await;
    put_token(&store, token(1, 1)).await;
    let recorded = trail(&store).await.len();
    let twice = FactorEnrolment {
        factor_uses: vec![factor_use(1, 2), factor_use(1, 3)],
        ..with_token(5, 1, 1)
    };
    for new in [with_token(2, 1, 1), twice] {
        let conflict = store.enrol_factor(new).await;
        assert!(matches!(conflict, Err(StoreError::Conflict)));
    }
    assert_eq!(trail(&store).await.len(), recorded, "nothing is recorded");

    let gone = async |new: FactorEnrolment, why: &str| {
        assert_eq!(enrol_factor(&store, new).await, Enrolled::PeerGone, "{why}");
    };
    let mut elsewhere = with_token(5, 1, 1);
    elsewhere.location = location(2);
    gone(elsewhere, "a peer of another location").await;
    let mut stolen = with_token(5, 1, 1);
    stolen.peer = key(2);
    gone(stolen, "another user's peer").await;
    put_user(&store, 1, false).await;
    gone(with_token(5, 1, 1), "a disabled user").await;
    put_user(&store, 1, true).await;
    let disabled = Peer {
        enabled: false,
        ..peer(1)
    };
    put_peer(&store, disabled).await;
    gone(with_token(5, 1, 1), "a disabled peer").await;
    is_unchanged(&store, 1, &[factor(1, 1)], &[token_id(1)]).await;
}

/// For two stores that share their contents.
pub(super) async fn two_stores_use_a_token_once(a: Store, b: Store) {
    enrol(&a, 1).await;
    put_token(&a, token(1, 1)).await;
    let mut calls = JoinSet::new();
    for id in 101..=108 {
        for (store, id) in [(a.clone(), id), (b.clone(), id + 100)] {
            calls.spawn(async move { store.enrol_factor(with_token(id, 1, 1)).await });
        }
    }
    let outcomes = calls.join_all().await;
    let enrolled = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Ok(Enrolled::Enrolled)))
        .count();
    assert_eq!(enrolled, 1, "one token, one factor: {outcomes:?}");
    for store in [&a, &b] {
        assert!(tokens(store, 1).await.is_empty());
    }
}

fn swap(from: &str, to: &str) -> SecretReplacement {
    SecretReplacement {
        from: sealed(from),
        to: sealed(to),
    }
}
