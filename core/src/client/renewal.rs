//! More time for a live lease: by itself, or when the user says so.

use super::attempt_failure::AttemptFailure;
use super::ceremony::Purpose;
use super::config::Renewal;
use super::event::Event;
use super::machine::Machine;
use crate::time::Now;

impl Machine {
    pub(super) fn on_renew(&mut self, now: Now) {
        if self.lease.is_some() {
            return self.on_start(now);
        }
        self.tell(Event::Failed {
            failure: AttemptFailure::NotSignedIn,
        });
    }

    pub(super) fn renewal_due(&mut self, now: Now) {
        let wait = self.config.wait(1);
        let is_busy = self.ceremony.is_some() || !self.tunnel.is_up();
        let Some(lease) = self.lease.as_mut() else {
            return;
        };
        if lease.renew_at.take_if(|at| *at <= now.instant).is_none() {
            return;
        }
        if is_busy {
            lease.renew_at = Some(now.instant + wait);
            return;
        }
        let session = lease.session;
        let purpose = Purpose::Renew {
            session,
            may_ask: false,
        };
        self.begin(now, purpose, false);
    }

    /// A renewal is over without a new lease; the old one goes on. `is_decided`: the gate may have
    /// renewed anyway, and have a key that this end does not.
    pub(super) fn on_renewal_failed(
        &mut self,
        now: Now,
        may_ask: bool,
        is_decided: bool,
        failure: AttemptFailure,
    ) {
        if may_ask {
            self.tell(Event::Failed {
                failure: failure.clone(),
            });
        }
        let is_automatic = matches!(self.config.renewal, Renewal::Automatic { .. });
        let Some(lease) = self.lease.as_mut() else {
            return;
        };
        let wait = match &failure {
            AttemptFailure::Cancelled
            | AttemptFailure::Disabled
            | AttemptFailure::Locked { .. } => return,
            AttemptFailure::NotRenewable
            | AttemptFailure::NotEnrolled
            | AttemptFailure::NoFactor
            | AttemptFailure::Assurance
            | AttemptFailure::NotAuthorised
            | AttemptFailure::OutsideHours
            | AttemptFailure::TooManySessions
            | AttemptFailure::BadToken
            | AttemptFailure::NotEnrollable => {
                lease.renewable = false;
                lease.renew_at = None;
                lease.owes_mfa_event = !may_ask;
                return self.probe(now);
            }
            AttemptFailure::Busy { wait } => *wait,
            AttemptFailure::Transport(_)
            | AttemptFailure::AttemptExpired
            | AttemptFailure::Clock
            | AttemptFailure::Unavailable
            | AttemptFailure::Unexpected
            | AttemptFailure::NotSignedIn => std::time::Duration::ZERO,
        };
        lease.failures = lease.failures.saturating_add(1);
        let (failures, ends_in) = (lease.failures, lease.left(now));
        if is_decided || (is_automatic && lease.renewable) {
            lease.renew_at = Some(now.instant + wait.max(self.config.wait(failures)));
        }
        if let (AttemptFailure::Transport(error), 1, false) = (failure, failures, may_ask) {
            self.tell(Event::Unreachable { error, ends_in });
        }
    }

    /// The lease that a renewal was for is over. One that has been sent may still be decided; it
    /// is then ended.
    pub(super) fn abandon_renewal(&mut self, now: Now) {
        let Some(ceremony) = self.ceremony.as_ref() else {
            return;
        };
        let Purpose::Renew { may_ask, .. } = ceremony.purpose else {
            return;
        };
        self.abandon(now);
        if may_ask {
            self.tell(Event::Failed {
                failure: AttemptFailure::NotRenewable,
            });
        }
    }
}
