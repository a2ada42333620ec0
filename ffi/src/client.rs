//! The client.

use std::sync::Arc;
use std::time::Duration;

use mfagate::client::{ClientBuilder, PostTransport, SavedSession, SignOutError};

use crate::adaptor::{Post, Prompter, TunnelInterface};
use crate::authenticators::Authenticators;
use crate::call::{Calls, Cancellation, cancelled};
use crate::challenge::millis;
use crate::error::{Failure, MfagateError};
use crate::event::{Event, texts};
use crate::phase::Phase;
use crate::profile::{EnrolRequest, Profile};
use crate::runtime;
use crate::secret::SecretBytes;
use crate::settings::ClientSettings;
use crate::transport::Transport;
use crate::tunnel::{Traffic, Tunnel};

/// A client of one location. When it is let go of, the user is signed out and the tunnel comes down,
/// in the background; [`shut_down`](Self::shut_down) waits for that.
#[derive(uniffi::Object)]
pub struct Client {
    core: Arc<mfagate::Client>,
    calls: Calls,
    profile: Arc<Profile>,
    callback_timeout: Duration,
}

/// A tunnel that is up.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Connected {
    /// The session.
    pub session: String,
    /// This device's own addresses inside the tunnel, as networks.
    pub addresses: Vec<String>,
    /// How long the lease lasts, in milliseconds.
    pub ends_in_ms: u64,
}

/// A client, and what became of the session that it was to go on with.
#[derive(uniffi::Record)]
pub struct Resumed {
    /// The client; it may connect where there is no tunnel.
    pub client: Arc<Client>,
    /// The tunnel that is up, if one is.
    pub connected: Option<Connected>,
    /// Why there is none, or not yet.
    pub failure: Option<Failure>,
}

/// Makes a client that goes on with a session that another client of this device has saved, without
/// a sign-in. The gate is asked first. It fails only where no client can be made: what became of
/// the session is in the result.
#[uniffi::export(default(cancellation = None))]
pub async fn resume(
    profile: Arc<Profile>,
    transport: Arc<dyn Transport>,
    tunnel: Arc<dyn Tunnel>,
    settings: ClientSettings,
    saved: Vec<u8>,
    key: Arc<SecretBytes>,
    cancellation: Option<Arc<Cancellation>>,
) -> Result<Resumed, MfagateError> {
    let key = key.handover_key()?;
    let saved = SavedSession::from_bytes(saved);
    let builder = builder(&profile, &transport, tunnel, &settings)?;
    let work = runtime::run(async move { builder.resume(&saved, &key).await });
    let resumed = tokio::select! {
        biased;
        () = cancelled(cancellation) => Err(MfagateError::cancelled()),
        done = work => done,
    }??;
    let (connected, failure) = match resumed.outcome {
        Ok(connected) => (Some(connected.into()), None),
        Err(error) => (None, Some(Failure::from(&error))),
    };
    let client = Arc::new(Client::around(resumed.client, profile, &settings));
    Ok(Resumed {
        client,
        connected,
        failure,
    })
}

#[uniffi::export]
impl Client {
    /// Makes a client. What an earlier run left of the tunnel is taken down.
    #[uniffi::constructor]
    pub fn new(
        profile: Arc<Profile>,
        transport: Arc<dyn Transport>,
        tunnel: Arc<dyn Tunnel>,
        settings: ClientSettings,
    ) -> Result<Arc<Self>, MfagateError> {
        let core = builder(&profile, &transport, tunnel, &settings)?.build()?;
        Ok(Arc::new(Self::around(core, profile, &settings)))
    }

    /// Signs in and brings the tunnel up.
    #[uniffi::method(default(cancellation = None))]
    pub async fn connect(
        &self,
        authenticators: Authenticators,
        cancellation: Option<Arc<Cancellation>>,
    ) -> Result<Connected, MfagateError> {
        let (core, mut prompt) = self.begin(authenticators);
        let work = async move { core.connect(&mut prompt).await };
        Ok(self.calls.attempt(cancellation, work).await??.into())
    }

    /// Enrols what the profile asks for first, then connects. Where the profile asks for nothing,
    /// connects. Once it has returned, keep the profile without what was to be enrolled.
    #[uniffi::method(default(cancellation = None))]
    pub async fn onboard(
        &self,
        authenticators: Authenticators,
        cancellation: Option<Arc<Cancellation>>,
    ) -> Result<Connected, MfagateError> {
        let (core, mut prompt) = self.begin(authenticators);
        let request = self.profile.first_enrolment();
        let work = async move {
            match request {
                Some(request) => core.onboard(request, &mut prompt).await,
                None => core.connect(&mut prompt).await,
            }
        };
        Ok(self.calls.attempt(cancellation, work).await??.into())
    }

    /// Gives the live session more time. Asks the user only where the gate asks for a factor.
    #[uniffi::method(default(cancellation = None))]
    pub async fn renew(
        &self,
        authenticators: Authenticators,
        cancellation: Option<Arc<Cancellation>>,
    ) -> Result<Connected, MfagateError> {
        let (core, mut prompt) = self.begin(authenticators);
        let work = async move { core.renew(&mut prompt).await };
        Ok(self.calls.attempt(cancellation, work).await??.into())
    }

    /// Signs in again while the tunnel stays up. Fails where no tunnel is up: connect then.
    #[uniffi::method(default(cancellation = None))]
    pub async fn reauthenticate(
        &self,
        authenticators: Authenticators,
        cancellation: Option<Arc<Cancellation>>,
    ) -> Result<Connected, MfagateError> {
        let is_connected = matches!(self.core.status(), mfagate::client::Phase::Connected { .. });
        if !is_connected {
            return Err(mfagate::client::AttemptFailure::NotSignedIn.into());
        }
        self.connect(authenticators, cancellation).await
    }

    /// Enrols a factor, and gives its name. A live session goes on.
    #[uniffi::method(default(cancellation = None))]
    pub async fn enrol(
        &self,
        request: EnrolRequest,
        authenticators: Authenticators,
        cancellation: Option<Arc<Cancellation>>,
    ) -> Result<String, MfagateError> {
        let request = request.convert()?;
        let (core, mut prompt) = self.begin(authenticators);
        let work = async move { core.enrol(request, &mut prompt).await };
        let factor = self.calls.attempt(cancellation, work).await??;
        Ok(factor.to_string())
    }

    /// The next event since the client was made; none once it was closed. All callers share one
    /// reader.
    #[uniffi::method(default(cancellation = None))]
    pub async fn next_event(
        &self,
        cancellation: Option<Arc<Cancellation>>,
    ) -> Result<Option<Event>, MfagateError> {
        // Not on the runtime: an event that a dropped task has taken would be lost.
        tokio::select! {
            biased;
            () = cancelled(cancellation) => Err(MfagateError::cancelled()),
            event = self.core.next_event() => Ok(event.map(Event::from)),
        }
    }

    /// The client's state now.
    pub fn status(&self) -> Result<Phase, MfagateError> {
        if self.calls.is_closed() {
            return Ok(Phase::Closed);
        }
        Ok(self.core.status().into())
    }

    /// Says that the device's network changed, so that the client looks again at once.
    pub fn network_changed(&self) -> Result<(), MfagateError> {
        self.core.network_changed();
        Ok(())
    }

    /// Says that the device woke up or was unlocked.
    pub fn woke(&self) -> Result<(), MfagateError> {
        self.core.woke();
        Ok(())
    }

    /// Says that the app reports wake-ups, changes of the network and traffic from now on, or does
    /// so no more. While it does, the client wakes the device for its deadlines only.
    pub fn set_quiet(&self, is_quiet: bool) -> Result<(), MfagateError> {
        self.core.set_quiet(is_quiet);
        Ok(())
    }

    /// Reports the tunnel's traffic.
    pub fn traffic(&self, traffic: Traffic) -> Result<(), MfagateError> {
        self.core.report_traffic(traffic.into());
        Ok(())
    }

    /// Signs the user out. Returns when the tunnel is down and the gate has been told.
    pub async fn sign_out(&self) -> Result<(), MfagateError> {
        let core = Arc::clone(&self.core);
        let work = async move { core.sign_out().await };
        Ok(self.calls.run(None, work).await??)
    }

    /// The live session as a sealed value that another client of this device can go on with. It may
    /// be kept where others can read it; its key may not. Save again at each `TunnelUp` and
    /// `Renewed`.
    pub async fn save_session(&self, key: Arc<SecretBytes>) -> Result<Vec<u8>, MfagateError> {
        let key = key.handover_key()?;
        let core = Arc::clone(&self.core);
        let work = async move { core.save_session(&key).await };
        let saved = self.calls.run(None, work).await??;
        Ok(saved.as_bytes().to_vec())
    }

    /// Ends the attempt that is under way: its caller gets `UserCancelled`. A live session goes on.
    pub fn cancel(&self) -> Result<(), MfagateError> {
        self.calls.cancel();
        Ok(())
    }

    /// Stops without signing out: session and tunnel stay as they are, for another client that goes
    /// on with the saved session.
    pub fn detach(&self) -> Result<(), MfagateError> {
        self.calls.close();
        self.core.detach();
        Ok(())
    }

    /// Signs out and stops the client for good. Calls under way end at once; the reader of events
    /// gets those up to that, and then none. Later calls fail with the code `client-stopped`.
    pub async fn shut_down(&self) -> Result<(), MfagateError> {
        self.calls.close();
        let core = Arc::clone(&self.core);
        match runtime::run(async move { core.close().await }).await? {
            // It was closed, or detached, before.
            Ok(()) | Err(SignOutError::Stopped) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Client {
    fn around(core: mfagate::Client, profile: Arc<Profile>, settings: &ClientSettings) -> Self {
        if settings.is_quiet {
            core.set_quiet(true);
        }
        Self {
            core: Arc::new(core),
            calls: Calls::new(),
            profile,
            callback_timeout: settings.timeouts().round_trip,
        }
    }

    /// What an attempt needs.
    fn begin(&self, authenticators: Authenticators) -> (Arc<mfagate::Client>, Prompter) {
        let profile = self.profile.core();
        let prompt = Prompter {
            authenticators,
            location: profile.location_key,
            peer: profile.private_key.public_key(),
            timeout: self.callback_timeout,
        };
        (Arc::clone(&self.core), prompt)
    }
}

fn builder(
    profile: &Profile,
    transport: &Arc<dyn Transport>,
    tunnel: Arc<dyn Tunnel>,
    settings: &ClientSettings,
) -> Result<ClientBuilder, MfagateError> {
    let timeouts = settings.timeouts();
    let core = profile.core();
    let interface = TunnelInterface::new(tunnel, Arc::clone(core), timeouts.interface);
    let mut builder = mfagate::Client::builder(mfagate::Profile::clone(core))
        .runtime(runtime::handle()?.clone())
        .interface(interface)
        .config(settings.config())
        .timeouts(timeouts)
        .posture(settings.posture()?);
    let post = Post {
        transport: Arc::clone(transport),
        timeout: timeouts.round_trip,
    };
    for url in &core.control {
        let transport = PostTransport::new(url, post.clone());
        let transport = transport.map_err(|error| MfagateError::from(Failure::from(&error)))?;
        builder = builder.transport(transport);
    }
    Ok(builder)
}

impl From<mfagate::client::Connected> for Connected {
    fn from(connected: mfagate::client::Connected) -> Self {
        Self {
            session: connected.session.to_string(),
            addresses: texts(&connected.addresses),
            ends_in_ms: millis(connected.ends_in),
        }
    }
}
