//! From a grant to a lease.

use super::action::Action;
use super::attempt_failure::AttemptFailure;
use super::ceremony::Ceremony;
use super::event::{Event, SessionEnd};
use super::lease::Lease;
use super::machine::Machine;
use crate::channel::message::Granted;
use crate::key::PresharedKey;
use crate::time::Now;

impl Machine {
    /// A grant that answers the current attempt. `sent` is when the request for it was.
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
            self.fail(now, ceremony, AttemptFailure::AttemptExpired);
            self.say_goodbye(now, session, false);
            return self.end_lease(now, SessionEnd::Expired, false);
        }
        self.put_in_force(now, sent, grant, psk, ceremony.is_renewal());
    }

    pub(super) fn put_in_force(
        &mut self,
        now: Now,
        sent: Now,
        grant: Granted,
        psk: PresharedKey,
        is_renewal: bool,
    ) {
        let lease = Lease::new(&self.config, sent, &grant);
        if lease.is_over(now) {
            return self.end_lease(now, SessionEnd::Expired, true);
        }
        let in_place = self.lease.is_some() && self.tunnel.is_up();
        // A renewal is in place at both ends. For all else the gate begins from nothing, and so does
        // this end: WireGuard would go on with keys that the gate has given up for fifteen seconds
        // and more.
        let keeps_keys = in_place && is_renewal;
        if in_place && !keeps_keys {
            self.watch.restart();
        }
        self.tell(Event::Granted {
            session: lease.session,
        });
        self.lease = Some(lease);
        self.grants += 1;
        self.put_up(in_place, |ticket| {
            if keeps_keys {
                Action::RenewTunnel { ticket, psk }
            } else {
                Action::InstallTunnel { ticket, psk }
            }
        });
    }
}
