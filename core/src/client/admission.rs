//! From a grant to a lease.

use super::action::Action;
use super::ceremony::Ceremony;
use super::event::{EndReason, Event};
use super::failure::Failure;
use super::lease::Lease;
use super::machine::Machine;
use crate::channel::message::Granted;
use crate::key::PresharedKey;
use crate::time::Now;

impl Machine {
    /// A grant that answers the attempt at hand. `sent` is when the request for it was.
    pub(super) fn admit(
        &mut self,
        now: Now,
        ceremony: &Ceremony,
        sent: Now,
        grant: Granted,
        psk: PresharedKey,
    ) {
        if Lease::new(&self.config, sent, &grant).is_over(now) {
            let session = grant.session;
            self.fail(now, ceremony, Failure::AttemptExpired);
            self.say_goodbye(now, session, false);
            return self.end_lease(now, EndReason::Expired, false);
        }
        self.put_in_force(now, sent, grant, psk);
    }

    pub(super) fn put_in_force(&mut self, now: Now, sent: Now, grant: Granted, psk: PresharedKey) {
        let lease = Lease::new(&self.config, sent, &grant);
        if lease.is_over(now) {
            return self.end_lease(now, EndReason::Expired, true);
        }
        // A renewal is in place at both ends; a first admission begins from nothing.
        let in_place = self.lease.is_some() && self.tunnel.is_up();
        self.tell(Event::Granted {
            session: lease.session,
        });
        self.lease = Some(lease);
        self.put_up(in_place, |ticket| {
            if in_place {
                Action::RenewTunnel { ticket, psk }
            } else {
                Action::InstallTunnel { ticket, psk }
            }
        });
    }
}
