//! Handing a session over to another client, and going on with one.

use std::sync::PoisonError;

use super::builder::OnInterface;
use super::saved::{HandoverKey, Identity, OpenFault, SavedSession};
use super::{BuildError, Client, ClientBuilder, Connected};
use crate::channel::transport::TransportError;
use crate::client::{Event, Machine, ResumeRefusal, SavedLease, SessionEnd};
use crate::key::PresharedKey;
use crate::log;

/// How often saving begins again because the session was renewed meanwhile.
const TRIES: usize = 3;

/// A client, and what became of the session that it was to go on with. After a failure it is a
/// client like any other: nothing is on the interface, and it may connect.
#[derive(Debug)]
#[must_use]
#[non_exhaustive]
pub struct Resumed {
    /// The client.
    pub client: Client,
    /// The tunnel that is up, or why there is none.
    pub outcome: Result<Connected, ResumeError>,
}

/// Why a saved session is not, or not yet, gone on with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResumeError {
    /// The saved session does not open: it was altered, or belongs to another key, device or
    /// location.
    #[error("the saved session can't be used on this device: sign in again")]
    NotOpened,
    /// Another version of this crate has saved it.
    #[error(
        "the saved session is of version {version}, which this app does not know: sign in again"
    )]
    Version {
        /// The version.
        version: u8,
    },
    /// The wall clock is before the moment of saving.
    #[error(
        "this device's clock was set back since the session was saved: set the date and time, then sign in again"
    )]
    ClockSetBack,
    /// The session is over, by the gate's word or by the clock.
    #[error("{0}")]
    Ended(SessionEnd),
    /// The gate could not be asked. The client keeps trying: it tells by
    /// [`Event::TunnelUp`] or [`Event::Ended`] how it went. Until then it leaves the interface as
    /// it is, and takes the tunnel down when the lease ends.
    #[error(transparent)]
    Unreachable(TransportError),
    /// The client has stopped.
    #[error("the client has stopped: make a new one")]
    Stopped,
}

impl From<OpenFault> for ResumeError {
    fn from(error: OpenFault) -> Self {
        match error {
            OpenFault::Version(version) => Self::Version { version },
            OpenFault::Altered => Self::NotOpened,
        }
    }
}

impl From<ResumeRefusal> for ResumeError {
    fn from(refusal: ResumeRefusal) -> Self {
        match refusal {
            ResumeRefusal::ClockSetBack => Self::ClockSetBack,
            ResumeRefusal::Ended(reason) => Self::Ended(reason),
        }
    }
}

/// Why a session can't be saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SaveError {
    /// No tunnel is up, or its key is being changed.
    #[error("there is no session to save: connect first, or try again in a moment")]
    NotConnected,
    /// The interface does not say which preshared key the tunnel has.
    #[error("the WireGuard interface does not give the tunnel's key: try again, or see its log")]
    Interface,
    /// The operating system has no randomness to give.
    #[error("the session can't be sealed now: try again in a moment")]
    Seal,
    /// The client has stopped.
    #[error("the client has stopped: make a new one")]
    Stopped,
}

impl Client {
    /// The live session as a sealed value that another client of this device can
    /// [go on with](ClientBuilder::resume). Session and tunnel stay as they are.
    ///
    /// A renewal changes the tunnel's key: save again at each
    /// [`Event::TunnelUp`] and [`Event::Renewed`]. At most one client may use a session at a time:
    /// [detach](Client::detach) this one before another goes on with it.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// [`SaveError`].
    pub async fn save_session(&self, key: &HandoverKey) -> Result<SavedSession, SaveError> {
        for _ in 0..TRIES {
            let (_, before) = self.saved_lease()?;
            let psk = self.installed_key().await?;
            let (lease, after) = self.saved_lease()?;
            // A renewal in between has changed the key, before or after it was read.
            if before == after {
                return self.identity.seal(key, &lease, &psk);
            }
        }
        Err(SaveError::NotConnected)
    }

    /// The lease, and how many there were up to it.
    fn saved_lease(&self) -> Result<(SavedLease, u64), SaveError> {
        let machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
        let lease = machine.saved_lease(self.clock.now());
        let lease = lease.ok_or(SaveError::NotConnected)?;
        Ok((lease, machine.grants()))
    }

    /// The preshared key that the tunnel has. The client keeps it nowhere else.
    async fn installed_key(&self) -> Result<PresharedKey, SaveError> {
        let interface = self.interface.upgrade().ok_or(SaveError::Stopped)?;
        let timeout = self.interface_timeout;
        let listed = self.runtime.spawn(async move {
            let listed = tokio::time::timeout(timeout, interface.list());
            listed.await.map(|listed| listed.unwrap_or_default())
        });
        let peers = listed.await.map_err(|_| SaveError::Stopped)?;
        let peers = peers.map_err(|_| SaveError::Interface)?;
        let location = self.identity.location_key();
        let there = peers.into_iter().find(|peer| peer.key == location);
        there.and_then(|peer| peer.psk).ok_or(SaveError::Interface)
    }
}

impl ClientBuilder {
    /// Makes the client and goes on with a session that another client has saved: as connected,
    /// without a sign-in. The gate is asked first; the interface keeps its packets passing
    /// meanwhile, where it outlived the other client.
    ///
    /// Where the session can't be gone on with, nothing of it stays on the interface:
    /// [`Resumed::outcome`] says why.
    ///
    /// Dropped, it signs the user out, as dropping a client does.
    ///
    /// # Errors
    /// [`BuildError`]; then nothing was done.
    pub async fn resume(
        self,
        saved: &SavedSession,
        key: &HandoverKey,
    ) -> Result<Resumed, BuildError> {
        let opened = Identity::of(self.profile()).open(key, saved);
        let mut refusal = None;
        let (client, mut events) = self.assemble(|config, now| {
            let resumed = opened
                .map_err(ResumeError::from)
                .and_then(|(lease, psk)| Ok(Machine::resuming(config.clone(), now, lease, psk)?));
            match resumed {
                Ok(machine) => (machine, OnInterface::IsKept),
                Err(error) => {
                    refusal = Some(error);
                    (Machine::new(config), OnInterface::IsCleared)
                }
            }
        })?;
        let outcome = match refusal {
            // Whatever is on the interface belongs to no session that this client knows.
            Some(refusal) => {
                if client.sign_out().await.is_err() {
                    log::later(|| tracing::warn!("what a saved session left stays for now"));
                }
                Err(refusal)
            }
            None => loop {
                match events.recv().await {
                    Ok(Event::TunnelUp {
                        session,
                        addresses,
                        ends_in,
                    }) => {
                        break Ok(Connected {
                            session,
                            addresses,
                            ends_in,
                        });
                    }
                    Ok(Event::Ended { reason, .. }) => break Err(ResumeError::Ended(reason)),
                    Ok(Event::Unreachable { error, .. }) => {
                        break Err(ResumeError::Unreachable(error));
                    }
                    Ok(_) | Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
                    Err(tokio::sync::broadcast::error::RecvError::Closed) => {
                        break Err(ResumeError::Stopped);
                    }
                }
            },
        };
        Ok(Resumed { client, outcome })
    }
}
