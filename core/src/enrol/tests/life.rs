//! Tokens, groups, and the life of factors.

use super::*;
use crate::assurance::FactorKind;
use crate::id::{CredentialId, TokenId};
use crate::seal::Secret;
use crate::store::{EnrolmentToken, User};

impl Desk {
    async fn add_active(&self, label: &str) -> FactorId {
        let secret = Secret::new(label.as_bytes().to_vec());
        let (kind, none) = (FactorKind::PASSWORD, None);
        let added = self
            .registrar
            .add_factor(&self.user, kind, label, &secret, none);
        added.await.unwrap()
    }

    async fn user(&self) -> User {
        let users = self.store.users().await.unwrap();
        users.into_iter().find(|u| u.id == self.user).unwrap()
    }
}

#[tokio::test]
async fn a_user_keeps_their_groups_when_disabled_and_stays_so_in_other_groups() {
    let desk = Desk::open().await;
    let registrar = &desk.registrar;
    let groups: Vec<GroupId> = vec!["staff".parse().unwrap()];
    registrar
        .put_groups(&desk.user, groups.clone())
        .await
        .unwrap();
    let told = AuditKind::GroupsPut {
        groups: groups.clone(),
    };
    assert_eq!(desk.last_audit().await, told);
    registrar.put_user(&desk.user, false).await.unwrap();
    assert_eq!(desk.user().await.groups, groups);
    registrar.put_groups(&desk.user, Vec::new()).await.unwrap();
    let user = desk.user().await;
    assert!(!user.enabled && user.groups.is_empty(), "{user:?}");

    let unknown = registrar.put_groups(&"bob".parse().unwrap(), groups).await;
    assert!(matches!(
        unknown,
        Err(EnrolError::Store(StoreError::UnknownUser))
    ));
}

#[tokio::test]
async fn a_factor_that_is_added_is_active_and_opens_with_the_ring() {
    let desk = Desk::open().await;
    let id = desk.add_active("a pin").await;
    let record = desk.factor(id).await;
    assert_eq!(record.state, FactorState::Active);
    assert_eq!(record.label, "a pin");
    let secret = desk.ring.open(&Row::from(&record), &record.sealed).unwrap();
    assert_eq!(secret.expose_secret(), b"a pin");

    let credential = CredentialId::new(vec![7]);
    let add = || {
        let secret = Secret::new(vec![1]);
        let (user, credential) = (desk.user.clone(), credential.clone());
        let registrar = desk.registrar.clone();
        async move {
            let kind = FactorKind::WEBAUTHN;
            registrar
                .add_factor(&user, kind, "key", &secret, credential)
                .await
        }
    };
    let key = add().await.unwrap();
    assert_eq!(desk.factor(key).await.credential, credential);
    let again = add().await.unwrap_err();
    assert!(matches!(again, EnrolError::CredentialTaken), "{again:?}");
    assert!(again.to_string().contains("enrolled already"), "{again}");
}

#[tokio::test]
async fn the_last_factor_goes_only_when_that_is_said() {
    let desk = Desk::open().await;
    let registrar = &desk.registrar;
    let (one, two) = (desk.add_active("one").await, desk.add_active("two").await);
    registrar.suspend_factor(&desk.user, one).await.unwrap();
    assert_eq!(desk.last_audit().await, AuditKind::FactorSuspended);
    for refused in [
        registrar.suspend_factor(&desk.user, two).await,
        registrar.remove_factor(&desk.user, two).await,
    ] {
        let refused = refused.unwrap_err();
        assert!(matches!(refused, EnrolError::LastFactor), "{refused:?}");
        assert!(
            refused.to_string().contains("enrol another one first"),
            "{refused}"
        );
    }
    registrar.resume_factor(&desk.user, one).await.unwrap();
    assert_eq!(desk.last_audit().await, AuditKind::FactorResumed);
    registrar.remove_factor(&desk.user, two).await.unwrap();
    registrar
        .danger_suspend_last_factor(&desk.user, one)
        .await
        .unwrap();
    assert_eq!(desk.factor(one).await.state, FactorState::Suspended);
    registrar.resume_factor(&desk.user, one).await.unwrap();
    registrar
        .danger_remove_last_factor(&desk.user, one)
        .await
        .unwrap();
    assert!(registrar.factors(&desk.user).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_does_not_fit_a_factor_or_its_owner_is_refused() {
    let desk = Desk::open().await;
    let registrar = &desk.registrar;
    let (one, _) = (desk.add_active("one").await, desk.add_active("two").await);
    registrar
        .rename_factor(&desk.user, one, "first")
        .await
        .unwrap();
    assert_eq!(desk.factor(one).await.label, "first");
    assert_eq!(desk.last_audit().await, AuditKind::FactorRenamed);

    let bob: UserId = "bob".parse().unwrap();
    registrar.put_user(&bob, true).await.unwrap();
    for refused in [
        registrar.resume_factor(&desk.user, one).await,
        registrar.rename_factor(&bob, one, "mine").await,
        registrar.suspend_factor(&bob, one).await,
        registrar.danger_suspend_last_factor(&bob, one).await,
        registrar.danger_remove_last_factor(&bob, one).await,
    ] {
        assert!(matches!(refused, Err(EnrolError::NoFactor)));
    }
    assert_eq!(desk.factor(one).await.label, "first");
}

#[tokio::test]
async fn a_token_is_shown_once_and_kept_as_its_digest() {
    let desk = Desk::open().await;
    let registrar = &desk.registrar;
    let kinds = vec![FactorKind::TOTP];
    let ttl = Registrar::TOKEN_TTL;
    let issued = registrar
        .issue_token(&desk.user, kinds.clone(), ttl)
        .await
        .unwrap();
    let not_after = desk.clock.now().timestamp + ttl;
    assert_eq!(issued.not_after, not_after);
    assert_eq!(
        desk.last_audit().await,
        AuditKind::TokenIssued {
            token: issued.id,
            kinds: kinds.clone(),
            not_after,
        }
    );
    let tokens = registrar.tokens(&desk.user).await.unwrap();
    let expected = EnrolmentToken {
        id: issued.id,
        user: desk.user.clone(),
        digest: EnrolmentToken::digest_of(issued.expose_text()),
        kinds,
        not_after,
        replaces: None,
    };
    assert_eq!(tokens, [expected]);
    assert!(tokens[0].is(issued.expose_text()));
    let secret = issued.expose_text().trim_start_matches("mfe_");
    let records = desk.store.audit(1, usize::MAX).await.unwrap();
    assert!(!format!("{issued:?} {tokens:?} {records:?}").contains(secret));

    let bob: UserId = "bob".parse().unwrap();
    registrar.put_user(&bob, true).await.unwrap();
    for (user, id) in [
        (&bob, issued.id),
        (&desk.user, TokenId::from_bytes([0; 16])),
    ] {
        let refused = registrar.remove_token(user, id).await;
        assert!(matches!(refused, Err(EnrolError::NoToken)));
    }
    registrar.remove_token(&desk.user, issued.id).await.unwrap();
    let token = issued.id;
    assert_eq!(desk.last_audit().await, AuditKind::TokenRemoved { token });
    assert!(registrar.tokens(&desk.user).await.unwrap().is_empty());
    let again = registrar.remove_token(&desk.user, issued.id).await;
    assert!(matches!(again, Err(EnrolError::NoToken)));
}

#[tokio::test]
async fn a_token_lasts_neither_no_time_nor_for_ever() {
    let desk = Desk::open().await;
    for (ttl, good) in [
        (Duration::ZERO, false),
        (Duration::from_millis(999), false),
        (Duration::from_secs(1), true),
        (Duration::from_secs(30 * 24 * 3600), true),
        (Duration::from_secs(30 * 24 * 3600 + 1), false),
        (Duration::MAX, false),
    ] {
        let issued = desk
            .registrar
            .issue_token(&desk.user, Vec::new(), ttl)
            .await;
        let refused = matches!(issued, Err(EnrolError::TokenLifetime));
        assert_eq!(issued.is_ok(), good, "{ttl:?}");
        assert_eq!(refused, !good, "{ttl:?}");
    }
    let unknown = "bob".parse().unwrap();
    let issued = desk
        .registrar
        .issue_token(&unknown, Vec::new(), Registrar::TOKEN_TTL)
        .await;
    assert!(matches!(
        issued,
        Err(EnrolError::Store(StoreError::UnknownUser))
    ));
}
