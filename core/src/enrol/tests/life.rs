//! Tokens, groups, and the life of factors.

use super::*;
use crate::assurance::FactorKind;
use crate::id::{CredentialId, TokenId};
use crate::seal::SecretBytes;
use crate::store::{EnrolmentToken, User};

impl Harness {
    async fn add_active(&self, label: &str) -> FactorId {
        let secret = SecretBytes::new(label.as_bytes().to_vec());
        let (kind, none) = (FactorKind::PASSWORD, None);
        let label = label.parse().unwrap();
        let added = self
            .registrar
            .add_factor(&self.user, kind, &label, &secret, none)
            .await;
        added.unwrap()
    }

    async fn user(&self) -> User {
        let users = self.store.users().await.unwrap();
        users.into_iter().find(|u| u.id == self.user).unwrap()
    }
}

#[tokio::test]
async fn disabling_keeps_groups_and_other_groups_keep_disabled() {
    let harness = Harness::open().await;
    let registrar = &harness.registrar;
    let groups: Vec<GroupId> = vec!["staff".parse().unwrap()];
    registrar
        .put_groups(&harness.user, groups.clone())
        .await
        .unwrap();
    let told = AuditKind::GroupsPut {
        groups: groups.clone(),
    };
    assert_eq!(harness.last_audit().await, told);
    registrar.put_user(&harness.user, false).await.unwrap();
    assert_eq!(harness.user().await.groups, groups);
    registrar
        .put_groups(&harness.user, Vec::new())
        .await
        .unwrap();
    let user = harness.user().await;
    assert!(!user.enabled && user.groups.is_empty(), "{user:?}");

    let unknown = registrar.put_groups(&"bob".parse().unwrap(), groups).await;
    assert!(matches!(
        unknown,
        Err(EnrolError(EnrolFault::Store(StoreError::UnknownUser)))
    ));
}

#[tokio::test]
async fn a_factor_that_is_added_is_active_and_opens_with_the_ring() {
    let harness = Harness::open().await;
    let id = harness.add_active("a pin").await;
    let record = harness.factor(id).await;
    assert_eq!(record.state, FactorState::Active);
    assert_eq!(record.label.as_str(), "a pin");
    let secret = harness
        .ring
        .open(&AssociatedData::from(&record), &record.sealed)
        .unwrap();
    assert_eq!(secret.expose_secret(), b"a pin");

    let credential = CredentialId::new(vec![7]);
    let add = || {
        let secret = SecretBytes::new(vec![1]);
        let (user, credential) = (harness.user.clone(), credential.clone());
        let registrar = harness.registrar.clone();
        async move {
            let kind = FactorKind::WEBAUTHN;
            registrar
                .add_factor(&user, kind, &"key".parse().unwrap(), &secret, credential)
                .await
        }
    };
    let key = add().await.unwrap();
    assert_eq!(harness.factor(key).await.credential, credential);
    let again = add().await.unwrap_err();
    assert!(
        matches!(again, EnrolError(EnrolFault::CredentialTaken)),
        "{again:?}"
    );
    assert!(again.to_string().contains("enrolled already"), "{again}");
}

#[tokio::test]
async fn the_last_factor_goes_only_when_that_is_said() {
    let harness = Harness::open().await;
    let registrar = &harness.registrar;
    let (one, two) = (
        harness.add_active("one").await,
        harness.add_active("two").await,
    );
    registrar.suspend_factor(&harness.user, one).await.unwrap();
    assert_eq!(harness.last_audit().await, AuditKind::FactorSuspended);
    for refused in [
        registrar.suspend_factor(&harness.user, two).await,
        registrar.remove_factor(&harness.user, two).await,
    ] {
        let refused = refused.unwrap_err();
        assert!(
            matches!(refused, EnrolError(EnrolFault::LastFactor)),
            "{refused:?}"
        );
        assert!(
            refused.to_string().contains("enrol another one first"),
            "{refused}"
        );
    }
    registrar.resume_factor(&harness.user, one).await.unwrap();
    assert_eq!(harness.last_audit().await, AuditKind::FactorResumed);
    registrar.remove_factor(&harness.user, two).await.unwrap();
    registrar
        .danger_suspend_last_factor(&harness.user, one)
        .await
        .unwrap();
    assert_eq!(harness.factor(one).await.state, FactorState::Suspended);
    registrar.resume_factor(&harness.user, one).await.unwrap();
    registrar
        .danger_remove_last_factor(&harness.user, one)
        .await
        .unwrap();
    assert!(registrar.factors(&harness.user).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_does_not_fit_a_factor_or_its_owner_is_refused() {
    let harness = Harness::open().await;
    let registrar = &harness.registrar;
    let (one, _) = (
        harness.add_active("one").await,
        harness.add_active("two").await,
    );
    registrar
        .rename_factor(&harness.user, one, &"first".parse().unwrap())
        .await
        .unwrap();
    assert_eq!(harness.factor(one).await.label.as_str(), "first");
    assert_eq!(harness.last_audit().await, AuditKind::FactorRenamed);

    let bob: UserId = "bob".parse().unwrap();
    registrar.put_user(&bob, true).await.unwrap();
    for refused in [
        registrar.resume_factor(&harness.user, one).await,
        registrar
            .rename_factor(&bob, one, &"mine".parse().unwrap())
            .await,
        registrar.suspend_factor(&bob, one).await,
        registrar.danger_suspend_last_factor(&bob, one).await,
        registrar.danger_remove_last_factor(&bob, one).await,
    ] {
        assert!(matches!(refused, Err(EnrolError(EnrolFault::NoFactor))));
    }
    assert_eq!(harness.factor(one).await.label.as_str(), "first");
}

#[tokio::test]
async fn a_token_is_shown_once_and_kept_as_its_digest() {
    let harness = Harness::open().await;
    let registrar = &harness.registrar;
    let kinds = vec![FactorKind::TOTP];
    let ttl = Registrar::TOKEN_TTL;
    let issued = registrar
        .issue_token(&harness.user, kinds.clone(), ttl)
        .await
        .unwrap();
    let not_after = harness.clock.now().timestamp + ttl;
    assert_eq!(issued.not_after, not_after);
    assert_eq!(
        harness.last_audit().await,
        AuditKind::TokenIssued {
            token: issued.id,
            kinds: kinds.clone(),
            not_after,
        }
    );
    let tokens = registrar.tokens(&harness.user).await.unwrap();
    let expected = EnrolmentToken {
        id: issued.id,
        user: harness.user.clone(),
        digest: EnrolmentToken::digest_of(issued.expose_text()),
        kinds,
        not_after,
        replaces: None,
    };
    assert_eq!(tokens, [expected]);
    assert!(tokens[0].is(issued.expose_text()));
    let secret = issued.expose_text().trim_start_matches("mfe_");
    let records = harness.store.audit(1, usize::MAX).await.unwrap();
    assert!(!format!("{issued:?} {tokens:?} {records:?}").contains(secret));

    let bob: UserId = "bob".parse().unwrap();
    registrar.put_user(&bob, true).await.unwrap();
    for (user, id) in [
        (&bob, issued.id),
        (&harness.user, TokenId::from_bytes([0; 16])),
    ] {
        let refused = registrar.remove_token(user, id).await;
        assert!(matches!(refused, Err(EnrolError(EnrolFault::NoToken))));
    }
    registrar
        .remove_token(&harness.user, issued.id)
        .await
        .unwrap();
    let token = issued.id;
    assert_eq!(
        harness.last_audit().await,
        AuditKind::TokenRemoved { token }
    );
    assert!(registrar.tokens(&harness.user).await.unwrap().is_empty());
    let again = registrar.remove_token(&harness.user, issued.id).await;
    assert!(matches!(again, Err(EnrolError(EnrolFault::NoToken))));
}

#[tokio::test]
async fn a_token_lasts_neither_no_time_nor_for_ever() {
    let harness = Harness::open().await;
    for (ttl, good) in [
        (Duration::ZERO, false),
        (Duration::from_millis(999), false),
        (Duration::from_secs(1), true),
        (Duration::from_secs(30 * 24 * 3600), true),
        (Duration::from_secs(30 * 24 * 3600 + 1), false),
        (Duration::MAX, false),
    ] {
        let issued = harness
            .registrar
            .issue_token(&harness.user, Vec::new(), ttl)
            .await;
        let refused = matches!(issued, Err(EnrolError(EnrolFault::TokenLifetime)));
        assert_eq!(issued.is_ok(), good, "{ttl:?}");
        assert_eq!(refused, !good, "{ttl:?}");
    }
    let unknown = "bob".parse().unwrap();
    let issued = harness
        .registrar
        .issue_token(&unknown, Vec::new(), Registrar::TOKEN_TTL)
        .await;
    assert!(matches!(
        issued,
        Err(EnrolError(EnrolFault::Store(StoreError::UnknownUser)))
    ));
}
