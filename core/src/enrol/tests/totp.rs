//! Confirming a one-time-password app.

use super::*;
use crate::assurance::FactorKind;
use crate::channel::message::Code;
use crate::enrol::TotpEnrolment;
use crate::policy::{Failures, Lock};
use crate::store::FailureReason;

impl Harness {
    async fn begin(&self) -> TotpEnrolment {
        let label = "phone".parse().unwrap();
        let begun = self.registrar.begin_totp(&self.user, &label, "test");
        begun.await.unwrap()
    }

    fn code(&self, secret: &TotpSecret) -> Code {
        secret.code(self.clock.now().timestamp).unwrap()
    }

    async fn confirm(&self, factor: FactorId, code: Code) -> Result<(), EnrolFault> {
        self.registrar
            .confirm_totp(&self.user, factor, code)
            .await
            .map_err(|error| error.0)
    }

    /// A code that is wrong now: one of tomorrow.
    fn wrong_code(&self, secret: &TotpSecret) -> Code {
        let tomorrow = self.clock.now().timestamp + Duration::from_secs(86_400);
        secret.code(tomorrow).unwrap()
    }

    /// A pending factor that was put into the store by other hands.
    async fn add(&self, kind: FactorKind, secret: &[u8], last_counter: Option<u64>) -> FactorId {
        let mut record = FactorRecord {
            id: FactorId::generate().unwrap(),
            user: self.user.clone(),
            kind,
            label: "phone".parse().unwrap(),
            credential: None,
            sealed: Sealed::from_bytes(Vec::new()),
            state: FactorState::Pending,
            last_counter,
            failures: Failures::default(),
        };
        record.sealed = self
            .ring
            .seal(&AssociatedData::from(&record), secret)
            .unwrap();
        let kind = record.kind.clone();
        let event = self.registrar.event(AuditKind::FactorAdded { kind });
        let id = record.id;
        self.store.add_factor(record, event).await.unwrap();
        id
    }
}

#[tokio::test]
async fn a_right_code_confirms_once_and_is_used_thereby() {
    let harness = Harness::open().await;
    let phone = harness.begin().await;
    assert_eq!(
        harness.factor(phone.factor).await.state,
        FactorState::Pending
    );
    let code = harness.code(&phone.secret);

    harness.confirm(phone.factor, code.clone()).await.unwrap();

    let record = harness.factor(phone.factor).await;
    assert_eq!(record.state, FactorState::Active);
    let step = phone.secret.step(harness.clock.now().timestamp);
    assert_eq!(record.last_counter, Some(step));
    assert_eq!(harness.last_audit().await, AuditKind::FactorActivated);
    let again = harness.confirm(phone.factor, code).await;
    assert!(matches!(again, Err(EnrolFault::NoFactor)), "{again:?}");
}

#[tokio::test]
async fn a_code_a_step_late_or_early_confirms() {
    for seconds in [30, 90] {
        let harness = Harness::open().await;
        let phone = harness.begin().await;
        harness.clock.advance(Duration::from_secs(60));
        let at =
            harness.clock.now().timestamp - Duration::from_secs(60) + Duration::from_secs(seconds);
        let code = phone.secret.code(at).unwrap();
        harness.confirm(phone.factor, code).await.unwrap();
    }
}

#[tokio::test]
async fn a_wrong_code_is_counted_and_said_to_be_wrong() {
    let harness = Harness::open().await;
    let phone = harness.begin().await;
    let wrong = harness.wrong_code(&phone.secret);
    let refused = harness.confirm(phone.factor, wrong).await;
    assert!(matches!(refused, Err(EnrolFault::WrongCode)));
    let record = harness.factor(phone.factor).await;
    assert_eq!(
        (record.state, record.failures.count),
        (FactorState::Pending, 1)
    );
    let reason = FailureReason::Wrong;
    assert_eq!(harness.last_audit().await, AuditKind::Denied { reason });
}

#[tokio::test]
async fn a_code_of_another_length_is_not_counted() {
    let harness = Harness::open().await;
    let phone = harness.begin().await;
    let refused = harness
        .confirm(phone.factor, "12345678".parse().unwrap())
        .await;
    assert!(matches!(refused, Err(EnrolFault::WrongCode)));
    assert_eq!(harness.factor(phone.factor).await.failures.count, 0);
}

#[tokio::test]
async fn a_used_code_is_counted_and_said_to_be_used() {
    let harness = Harness::open().await;
    let secret = TotpSecret::generate().unwrap();
    let step = secret.step(harness.clock.now().timestamp) + 1;
    let sealed = secret.to_secret();
    let factor = harness
        .add(FactorKind::TOTP, sealed.expose_secret(), Some(step))
        .await;
    let refused = harness.confirm(factor, harness.code(&secret)).await;
    assert!(matches!(refused, Err(EnrolFault::UsedCode)), "{refused:?}");
    assert_eq!(harness.factor(factor).await.failures.count, 1);
    let reason = FailureReason::Replayed;
    assert_eq!(harness.last_audit().await, AuditKind::Denied { reason });
}

#[tokio::test]
async fn a_right_code_confirms_nothing_while_the_factor_is_locked() {
    let harness = Harness::open().await;
    let phone = harness.begin().await;
    for _ in 0..5 {
        let wrong = harness.wrong_code(&phone.secret);
        harness.confirm(phone.factor, wrong).await.unwrap_err();
    }
    let code = harness.code(&phone.secret);
    for code in [code, harness.wrong_code(&phone.secret)] {
        let refused = harness.confirm(phone.factor, code).await;
        assert!(matches!(refused, Err(EnrolFault::Locked(Lock::Until(_)))));
    }
    assert_eq!(harness.factor(phone.factor).await.failures.count, 5);
    assert_eq!(harness.last_audit().await, AuditKind::LockedOut);

    harness.clock.advance(Duration::from_secs(31));
    harness
        .confirm(phone.factor, harness.code(&phone.secret))
        .await
        .unwrap();
    assert_eq!(harness.factor(phone.factor).await.failures.count, 0);
}

#[tokio::test]
async fn an_unreadable_secret_is_told_apart_from_no_factor() {
    let harness = Harness::open().await;
    let code: Code = "123456".parse().unwrap();
    let none = harness
        .add(FactorKind::TOTP, b"of a later version", None)
        .await;
    let refused = harness.confirm(none, code.clone()).await.unwrap_err();
    assert!(matches!(refused, EnrolFault::Unreadable(_)), "{refused:?}");
    assert!(refused.to_string().contains("begin its enrolment again"));

    let phone = harness.begin().await;
    let other = KeyRing::new("two".parse().unwrap(), RingKey::from_bytes([8; 32]));
    let elsewhere = Registrar::new(
        Arc::clone(&harness.store),
        other,
        Arc::new(harness.clock.clone()),
    );
    let refused = elsewhere
        .confirm_totp(&harness.user, phone.factor, code)
        .await;
    let refused = refused.unwrap_err();
    assert!(matches!(
        refused,
        EnrolError(EnrolFault::Seal(SealError(SealFault::UnknownKey { .. })))
    ));
    assert!(refused.to_string().contains("put that key back"));
    assert_eq!(harness.factor(phone.factor).await.failures.count, 0);
}

#[tokio::test]
async fn what_is_not_a_pending_app_of_the_users_is_no_factor() {
    let harness = Harness::open().await;
    let secret = TotpSecret::generate().unwrap();
    let sealed = secret.to_secret();
    let push = harness
        .add(FactorKind::new("push"), sealed.expose_secret(), None)
        .await;
    let bob: UserId = "bob".parse().unwrap();
    harness.registrar.put_user(&bob, true).await.unwrap();
    let bobs = harness
        .registrar
        .begin_totp(&bob, &"phone".parse().unwrap(), "test")
        .await
        .unwrap();
    let unknown = FactorId::generate().unwrap();
    for (factor, secret) in [
        (push, &secret),
        (bobs.factor, &bobs.secret),
        (unknown, &secret),
    ] {
        let refused = harness.confirm(factor, harness.code(secret)).await;
        assert!(matches!(refused, Err(EnrolFault::NoFactor)), "{refused:?}");
    }
    assert_eq!(harness.factor(push).await.state, FactorState::Pending);
}

#[tokio::test]
async fn names_that_no_app_can_show_begin_nothing() {
    let harness = Harness::open().await;
    let refused = harness
        .registrar
        .begin_totp(&harness.user, &"phone".parse().unwrap(), "a:b")
        .await;
    assert!(matches!(refused, Err(EnrolError(EnrolFault::Name))));
    assert!(
        harness
            .registrar
            .factors(&harness.user)
            .await
            .unwrap()
            .is_empty()
    );
    let unknown = "unknown".parse().unwrap();
    let refused = harness
        .registrar
        .begin_totp(&unknown, &"phone".parse().unwrap(), "test")
        .await;
    assert!(matches!(
        refused,
        Err(EnrolError(EnrolFault::Store(StoreError::UnknownUser)))
    ));
}

#[tokio::test]
async fn an_enrolment_prints_no_secret_and_draws_what_it_says() {
    let harness = Harness::open().await;
    let phone = harness.begin().await;
    let shown = format!("{phone:?} {:?} {:?}", phone.secret, harness.registrar);
    assert!(!shown.contains(phone.secret.expose_base32().as_str()));
    assert!(
        phone
            .expose_uri()
            .contains(phone.secret.expose_base32().as_str())
    );
    assert!(phone.expose_qr().is_ok());
}
