//! From a profile to a tunnel inside this process, in one call.

use std::net::SocketAddr;

use super::{
    BuildError, Client, ClientBuilder, ConnectError, Connected, Onboarding, Profile, Prompt,
    SignOutError,
};
use crate::interface::netstack::{NetListener, NetStream, Netstack, NetstackError};

/// A tunnel inside this process: a client that is connected, and the network behind it. Only this
/// program uses it; the system's routes stay as they are.
///
/// When it is dropped, the user is signed out as [`Client`] says, in the background: the tunnel
/// comes down, every stream through it is broken, and the gate is told. [`Tunnel::close`] waits for
/// that.
#[derive(Debug)]
pub struct Tunnel {
    client: Client,
    netstack: Netstack,
    connected: Connected,
}

impl Client {
    /// Signs in by `prompt` and brings a tunnel up inside this process: no root, no TUN device.
    /// Takes a [`Profile`], or an [`Onboarding`], whose factor the user enrols first.
    ///
    /// Control URLs are reached over HTTP (feature `http-client`). For a transport, a clock or a
    /// posture of your own: [`ClientBuilder::up`].
    ///
    /// Cancel safe: dropping it gives the attempt up, as with [`Client::connect`].
    ///
    /// # Errors
    /// [`UpError`].
    pub async fn up(
        start: impl Into<Onboarding>,
        prompt: &mut impl Prompt,
    ) -> Result<Tunnel, UpError> {
        let Onboarding { profile, enrol } = start.into();
        let up = Self::builder(profile).in_process().await?;
        let connected = match enrol {
            Some(request) => up.0.onboard(request, prompt).await?,
            None => up.0.connect(prompt).await?,
        };
        Ok(up.connected(connected))
    }
}

impl ClientBuilder {
    /// Makes the client on a [`Netstack`] of its own, in place of an
    /// [interface](ClientBuilder::interface), and brings the tunnel up as [`Client::up`] does.
    ///
    /// # Errors
    /// [`UpError`].
    pub async fn up(self, prompt: &mut impl Prompt) -> Result<Tunnel, UpError> {
        let up = self.in_process().await?;
        let connected = up.0.connect(prompt).await?;
        Ok(up.connected(connected))
    }

    async fn in_process(self) -> Result<Disconnected, UpError> {
        let netstack = netstack(self.profile()).await?;
        let client = self.interface(netstack.clone()).build()?;
        Ok(Disconnected(client, netstack))
    }
}

/// A tunnel without a session.
struct Disconnected(Client, Netstack);

impl Disconnected {
    fn connected(self, connected: Connected) -> Tunnel {
        let Self(client, netstack) = self;
        Tunnel {
            client,
            netstack,
            connected,
        }
    }
}

async fn netstack(profile: &Profile) -> Result<Netstack, NetstackError> {
    let mut builder = Netstack::builder(profile.private_key.clone());
    if let Some(mtu) = profile.mtu {
        builder = builder.mtu(mtu);
    }
    for address in &profile.addresses {
        builder = builder.address(*address);
    }
    builder.build().await
}

impl Tunnel {
    /// Connects to a TCP address through the tunnel.
    ///
    /// Cancel safe: a connection that is dropped half-way is given up.
    ///
    /// # Errors
    /// As of [`Netstack::connect`].
    pub async fn dial(&self, to: SocketAddr) -> Result<NetStream, NetstackError> {
        self.netstack.connect(to).await
    }

    /// Accepts TCP connections to an address inside the tunnel, as those of
    /// [`Tunnel::connected`] are.
    ///
    /// # Errors
    /// As of [`Netstack::listen`].
    pub fn listen(&self, at: SocketAddr) -> Result<NetListener, NetstackError> {
        self.netstack.listen(at)
    }

    /// The session as it was when the tunnel came up: this device's addresses, and how long the
    /// lease lasts.
    pub const fn connected(&self) -> &Connected {
        &self.connected
    }

    /// The client: for its events, to renew the session, to tell of a change of networks.
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// The network: UDP sockets, forwards, SOCKS5.
    pub const fn netstack(&self) -> &Netstack {
        &self.netstack
    }

    /// Signs out and takes the tunnel down. Returns when it is down and the gate has been told, as
    /// [`Client::sign_out`] does.
    ///
    /// Cancel safe: once it was polled, the signing out goes on without it.
    ///
    /// # Errors
    /// [`SignOutError`].
    pub async fn close(self) -> Result<(), SignOutError> {
        self.client.sign_out().await
    }
}

/// Why there is no tunnel.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpError {
    /// The network inside the process did not come up, as for what the profile says of addresses.
    #[error(transparent)]
    Netstack(#[from] NetstackError),
    /// The client can't be made.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The sign-in failed.
    #[error(transparent)]
    Connect(#[from] ConnectError),
}
