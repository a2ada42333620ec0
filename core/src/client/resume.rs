//! Handing a session over: what of it another machine needs, and how that machine goes on.
//!
//! A resumed machine believes nothing but the gate: it asks first, and touches the interface only
//! once the gate has said that the session is live, or that it is over.

use std::time::Duration;

use ipnet::IpNet;

use super::config::{Config, Renewal};
use super::event::SessionEnd;
use super::lease::Lease;
use super::machine::Machine;
use super::tunnel::Tunnel;
use crate::id::SessionId;
use crate::key::PresharedKey;
use crate::time::Now;

/// A device may have slept in a gap of this length in which no machine watched. It is what a running
/// client takes for a sleep as well.
const MAY_HAVE_SLEPT: Duration = Duration::from_secs(20);

/// A live lease at the moment at which it was saved.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SavedLease {
    /// The session.
    pub session: SessionId,
    /// This device's own addresses inside the tunnel.
    pub addresses: Vec<IpNet>,
    /// When it was saved.
    pub taken: Now,
    /// How long the lease lasted from then on.
    pub left: Duration,
    /// How long until the user is warned; `None` where the user was.
    pub warn_in: Option<Duration>,
    /// How long until it is renewed without being asked, where that was planned.
    pub renew_in: Option<Duration>,
    /// Whether a renewal without a factor is worth asking for.
    pub renewable: bool,
    /// Whether it ends when the device wakes.
    pub ends_on_wake: bool,
}

/// Why a saved lease is not gone on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResumeRefusal {
    /// The wall clock is before the moment of saving, so that it can't tell when the lease ends.
    #[error(
        "this device's clock was set back since the session was saved: set the date and time, then sign in again"
    )]
    ClockSetBack,
    /// The lease is over, or the device may have slept and the policy lets no session outlive that.
    #[error("{0}")]
    Ended(SessionEnd),
}

impl SavedLease {
    /// The saved lease as it is now.
    fn resumed(self, config: &Config, now: Now) -> Result<Lease, ResumeRefusal> {
        let Some(by_wall) = now
            .timestamp
            .as_millis()
            .checked_sub(self.taken.timestamp.as_millis())
        else {
            return Err(ResumeRefusal::ClockSetBack);
        };
        // Whichever clock says that more time has passed. After the device was started again the
        // monotonic one says less than is true, and then the wall clock counts.
        let by_instant = now.instant.saturating_since(self.taken.instant);
        let passed = Duration::from_millis(by_wall).max(by_instant);
        let left = self.left.saturating_sub(passed);
        if left.is_zero() {
            return Err(ResumeRefusal::Ended(SessionEnd::Expired));
        }
        if self.ends_on_wake && passed > MAY_HAVE_SLEPT {
            return Err(ResumeRefusal::Ended(SessionEnd::Woke));
        }
        let from_now = |after: Duration| now.instant + after.saturating_sub(passed);
        let renew_at = match config.renewal {
            Renewal::Automatic { .. } if self.renewable => {
                let planned = self.renew_in.map(from_now);
                let from_now = || Some(now.instant + config.renew_after(left)?);
                planned.or_else(from_now)
            }
            Renewal::Automatic { .. } | Renewal::OnRequest => None,
        };
        Ok(Lease::restored(
            now,
            left,
            self.warn_in.map(from_now),
            renew_at,
            self,
        ))
    }
}

impl Machine {
    /// What another machine needs to go on with the session; `None` unless its tunnel is up and no
    /// new key is on its way there.
    pub fn saved_lease(&self, now: Now) -> Option<SavedLease> {
        let lease = self.lease.as_ref().filter(|_| self.tunnel.is_up())?;
        (!lease.is_over(now)).then(|| lease.saved(now))
    }

    /// A machine that goes on with a saved lease. It asks the gate about the session and has the
    /// tunnel put up when the gate says that it is live; until then it leaves the interface as it
    /// is. When the gate says that it is over, or the lease ends first, the tunnel is taken down.
    ///
    /// # Errors
    /// [`ResumeRefusal`], without asking the gate.
    pub fn resuming(
        config: Config,
        now: Now,
        saved: SavedLease,
        psk: PresharedKey,
    ) -> Result<Self, ResumeRefusal> {
        let lease = saved.resumed(&config, now)?;
        let mut machine = Self::new(config);
        machine.see(now);
        machine.lease = Some(lease);
        machine.tunnel = Tunnel::Resuming(psk);
        machine.probe(now);
        Ok(machine)
    }
}
