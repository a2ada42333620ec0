//! Confirming a one-time-password app.

use super::*;
use crate::assurance::FactorKind;
use crate::channel::message::Code;
use crate::enrol::TotpEnrolment;
use crate::policy::{Failures, Lock};
use crate::store::FailureReason;

impl Desk {
    async fn begin(&self) -> TotpEnrolment {
        let begun = self.registrar.begin_totp(&self.user, "phone", "test");
        begun.await.unwrap()
    }

    fn code(&self, secret: &TotpSecret) -> Code {
        secret.code(self.clock.now().timestamp).unwrap()
    }

    async fn confirm(&self, factor: FactorId, code: Code) -> Result<(), EnrolError> {
        self.registrar.confirm_totp(&self.user, factor, code).await
    }

    /// A code that is wrong now: one of tomorrow.
    fn wrong_code(&self, secret: &TotpSecret) -> Code {
        let tomorrow = self.clock.now().timestamp + Duration::from_secs(86_400);
        secret.code(tomorrow).unwrap()
    }

    /// A pending factor that was put into the store by other hands.
    async fn add(&self, kind: FactorKind, secret: &[u8], last_step: Option<u64>) -> FactorId {
        let mut record = FactorRecord {
            id: FactorId::generate().unwrap(),
            user: self.user.clone(),
            kind,
            label: "phone".to_owned(),
            credential: None,
            sealed: Sealed::from_bytes(Vec::new()),
            state: FactorState::Pending,
            last_step,
            failures: Failures::default(),
        };
        record.sealed = self.ring.seal(&Row::from(&record), secret).unwrap();
        let kind = record.kind.clone();
        let event = self.registrar.event(AuditKind::FactorAdded { kind });
        let id = record.id;
        self.store.add_factor(record, event).await.unwrap();
        id
    }
}

#[tokio::test]
async fn a_right_code_confirms_once_and_is_used_thereby() {
    let desk = Desk::open().await;
    let phone = desk.begin().await;
    assert_eq!(desk.factor(phone.factor).await.state, FactorState::Pending);
    let code = desk.code(&phone.secret);

    desk.confirm(phone.factor, code.clone()).await.unwrap();

    let record = desk.factor(phone.factor).await;
    assert_eq!(record.state, FactorState::Active);
    let step = phone.secret.step(desk.clock.now().timestamp);
    assert_eq!(record.last_step, Some(step));
    assert_eq!(desk.last_audit().await, AuditKind::FactorActivated);
    let again = desk.confirm(phone.factor, code).await;
    assert!(matches!(again, Err(EnrolError::NoFactor)), "{again:?}");
}

#[tokio::test]
async fn a_code_a_step_late_or_early_confirms() {
    for seconds in [30, 90] {
        let desk = Desk::open().await;
        let phone = desk.begin().await;
        desk.clock.advance(Duration::from_secs(60));
        let at =
            desk.clock.now().timestamp - Duration::from_secs(60) + Duration::from_secs(seconds);
        let code = phone.secret.code(at).unwrap();
        desk.confirm(phone.factor, code).await.unwrap();
    }
}

#[tokio::test]
async fn a_wrong_code_is_counted_and_said_to_be_wrong() {
    let desk = Desk::open().await;
    let phone = desk.begin().await;
    let wrong = desk.wrong_code(&phone.secret);
    let refused = desk.confirm(phone.factor, wrong).await;
    assert!(matches!(refused, Err(EnrolError::WrongCode)));
    let record = desk.factor(phone.factor).await;
    assert_eq!(
        (record.state, record.failures.count),
        (FactorState::Pending, 1)
    );
    let reason = FailureReason::Wrong;
    assert_eq!(desk.last_audit().await, AuditKind::Denied { reason });
}

#[tokio::test]
async fn a_code_of_another_length_is_not_counted() {
    let desk = Desk::open().await;
    let phone = desk.begin().await;
    let refused = desk
        .confirm(phone.factor, "12345678".parse().unwrap())
        .await;
    assert!(matches!(refused, Err(EnrolError::WrongCode)));
    assert_eq!(desk.factor(phone.factor).await.failures.count, 0);
}

#[tokio::test]
async fn a_used_code_is_counted_and_said_to_be_used() {
    let desk = Desk::open().await;
    let secret = TotpSecret::generate().unwrap();
    let step = secret.step(desk.clock.now().timestamp) + 1;
    let sealed = secret.to_secret();
    let factor = desk
        .add(FactorKind::TOTP, sealed.expose_secret(), Some(step))
        .await;
    let refused = desk.confirm(factor, desk.code(&secret)).await;
    assert!(matches!(refused, Err(EnrolError::UsedCode)), "{refused:?}");
    assert_eq!(desk.factor(factor).await.failures.count, 1);
    let reason = FailureReason::Replayed;
    assert_eq!(desk.last_audit().await, AuditKind::Denied { reason });
}

#[tokio::test]
async fn a_right_code_past_the_limit_confirms_nothing_until_the_wait_is_over() {
    let desk = Desk::open().await;
    let phone = desk.begin().await;
    for _ in 0..5 {
        let wrong = desk.wrong_code(&phone.secret);
        desk.confirm(phone.factor, wrong).await.unwrap_err();
    }
    let code = desk.code(&phone.secret);
    for code in [code, desk.wrong_code(&phone.secret)] {
        let refused = desk.confirm(phone.factor, code).await;
        assert!(matches!(refused, Err(EnrolError::Locked(Lock::Until(_)))));
    }
    assert_eq!(desk.factor(phone.factor).await.failures.count, 5);
    assert_eq!(desk.last_audit().await, AuditKind::LockedOut);

    desk.clock.advance(Duration::from_secs(31));
    desk.confirm(phone.factor, desk.code(&phone.secret))
        .await
        .unwrap();
    assert_eq!(desk.factor(phone.factor).await.failures.count, 0);
}

#[tokio::test]
async fn a_secret_that_does_not_open_or_is_none_is_told_apart_from_no_factor() {
    let desk = Desk::open().await;
    let code: Code = "123456".parse().unwrap();
    let none = desk
        .add(FactorKind::TOTP, b"of a later version", None)
        .await;
    let refused = desk.confirm(none, code.clone()).await.unwrap_err();
    assert!(matches!(refused, EnrolError::Unreadable(_)), "{refused:?}");
    assert!(refused.to_string().contains("begin its enrolment anew"));

    let phone = desk.begin().await;
    let other = KeyRing::new("two".parse().unwrap(), RingKey::from_bytes([8; 32]));
    let elsewhere = Registrar::new(Arc::clone(&desk.store), other, Arc::new(desk.clock.clone()));
    let refused = elsewhere.confirm_totp(&desk.user, phone.factor, code).await;
    let refused = refused.unwrap_err();
    assert!(matches!(
        refused,
        EnrolError::Seal(SealError::UnknownKey { .. })
    ));
    assert!(refused.to_string().contains("put that key back"));
    assert_eq!(desk.factor(phone.factor).await.failures.count, 0);
}

#[tokio::test]
async fn what_is_not_a_pending_app_of_the_users_is_no_factor() {
    let desk = Desk::open().await;
    let secret = TotpSecret::generate().unwrap();
    let sealed = secret.to_secret();
    let push = desk
        .add(FactorKind::new("push"), sealed.expose_secret(), None)
        .await;
    let bob: UserId = "bob".parse().unwrap();
    desk.registrar.put_user(&bob, true).await.unwrap();
    let bobs = desk
        .registrar
        .begin_totp(&bob, "phone", "test")
        .await
        .unwrap();
    let unknown = FactorId::generate().unwrap();
    for (factor, secret) in [
        (push, &secret),
        (bobs.factor, &bobs.secret),
        (unknown, &secret),
    ] {
        let refused = desk.confirm(factor, desk.code(secret)).await;
        assert!(matches!(refused, Err(EnrolError::NoFactor)), "{refused:?}");
    }
    assert_eq!(desk.factor(push).await.state, FactorState::Pending);
}

#[tokio::test]
async fn names_that_no_app_can_show_begin_nothing() {
    let desk = Desk::open().await;
    let refused = desk.registrar.begin_totp(&desk.user, "phone", "a:b").await;
    assert!(matches!(refused, Err(EnrolError::Name)));
    assert!(desk.registrar.factors(&desk.user).await.unwrap().is_empty());
    let nobody = "nobody".parse().unwrap();
    let refused = desk.registrar.begin_totp(&nobody, "phone", "test").await;
    assert!(matches!(
        refused,
        Err(EnrolError::Store(StoreError::UnknownUser))
    ));
}

#[tokio::test]
async fn an_enrolment_prints_no_secret_and_draws_what_it_says() {
    let desk = Desk::open().await;
    let phone = desk.begin().await;
    let shown = format!("{phone:?} {:?} {:?}", phone.secret, desk.registrar);
    assert!(!shown.contains(phone.secret.expose_base32().as_str()));
    assert!(
        phone
            .expose_uri()
            .contains(phone.secret.expose_base32().as_str())
    );
    assert!(phone.expose_qr().is_ok());
}
