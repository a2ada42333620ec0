//! The parts: an internal page, an office with a gate in front of it, and devices.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use mfagate::client::Profile;
use mfagate::enrol::Registrar;
use mfagate::factor::totp::TotpVerifier;
use mfagate::gate::{Gate, GateConfig};
use mfagate::id::{LocationId, UserId};
use mfagate::interface::netstack::Netstack;
use mfagate::interface::{InterfaceBackend, PeerConfig};
use mfagate::key::PrivateKey;
use mfagate::seal::{KeyRing, RingKey};
use mfagate::store::sqlite::SqliteStore;
use mfagate::store::{AdminStore, Peer};
use mfagate::time::SystemClock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::folder::Folder;

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const GATE: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const PAGE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(GATE), 80);
const ECHO: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(GATE), 7);

/// A web server that only the office's own network reaches.
pub(crate) struct Internal {
    at: SocketAddr,
}

impl Internal {
    pub(crate) async fn start() -> Result<Self, Box<dyn Error>> {
        let listener = TcpListener::bind(ANY_PORT).await?;
        let at = listener.local_addr()?;
        let app = Router::new().route("/", get(|| async { "You are inside.\n" }));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(Self { at })
    }
}

/// A location: a gate, the WireGuard network that it guards, and who may ask to come in.
pub(crate) struct Office {
    pub(crate) gate: Gate,
    pub(crate) registrar: Registrar,
    pub(crate) user: UserId,
    interface: Netstack,
    control: String,
    location: LocationId,
    _forward: mfagate::interface::netstack::Forward,
    _folder: Folder,
}

impl Office {
    pub(crate) async fn open(internal: &Internal) -> Result<Self, Box<dyn Error>> {
        let folder = Folder::create()?;
        let store: Arc<dyn AdminStore> =
            Arc::new(SqliteStore::open(folder.path().join("gate.db"))?);
        let ring = KeyRing::new("quickstart".parse()?, RingKey::generate()?);
        let key = PrivateKey::generate()?;
        let location: LocationId = "office".parse()?;

        let interface = Netstack::builder(key.clone())
            .listen(ANY_PORT)
            .address("10.9.0.1/24".parse()?)
            .build()
            .await?;
        let forward = interface.forward(PAGE, internal.at)?;
        echo(&interface)?;

        let backend = Arc::new(interface.clone());
        let mut config =
            GateConfig::new(location.clone(), key, ring.clone(), store.clone(), backend);
        config.verifiers.push(Arc::new(TotpVerifier::new()));
        let gate = Gate::start(config).await?;

        let listener = TcpListener::bind(ANY_PORT).await?;
        let control = format!("http://{}", listener.local_addr()?);
        let never = std::future::pending();
        tokio::spawn(mfagate::http::serve(listener, gate.clone(), never));

        let registrar = Registrar::new(store, ring, Arc::new(SystemClock::new()));
        let user: UserId = "alice".parse()?;
        registrar.put_user(&user, true).await?;
        Ok(Self {
            gate,
            registrar,
            user,
            interface,
            control,
            location,
            _forward: forward,
            _folder: folder,
        })
    }

    /// Enrols a device of the user's, and hands out its profile.
    pub(crate) async fn device(
        &self,
        label: &str,
        address: &str,
    ) -> Result<Device, Box<dyn Error>> {
        let private_key = PrivateKey::generate()?;
        let addresses = vec![address.parse()?];
        let peer = Peer {
            location: self.location.clone(),
            key: private_key.public_key(),
            user: self.user.clone(),
            allowed_ips: addresses.clone(),
            label: label.parse()?,
            enabled: true,
        };
        self.registrar.put_peer(peer).await?;
        let profile = Profile {
            location: self.location.clone(),
            location_key: self.gate.public_key(),
            control: vec![self.control.clone()],
            endpoint: self.interface.local_addr().into(),
            private_key: private_key.clone(),
            addresses,
            allowed_ips: vec!["10.9.0.0/24".parse()?],
            keepalive: None,
            dns: Vec::new(),
            mtu: None,
        };
        let netstack = Netstack::builder(private_key)
            .listen(ANY_PORT)
            .address(address.parse()?)
            .build()
            .await?;
        Ok(Device { profile, netstack })
    }
}

/// A device of the user's.
pub(crate) struct Device {
    pub(crate) profile: Profile,
    netstack: Netstack,
}

impl Device {
    pub(crate) fn interface(&self) -> Arc<dyn InterfaceBackend> {
        Arc::new(self.netstack.clone())
    }

    /// Tries plain WireGuard, as a stolen key would; says what came of it.
    pub(crate) async fn knock(&self, office: &Office) -> Result<HandshakeOutcome, Box<dyn Error>> {
        let gate = self.profile.location_key;
        let peer = PeerConfig::new(gate, None, self.profile.allowed_ips.clone())
            .with_endpoint(office.interface.local_addr());
        self.netstack.install(vec![peer]).await?;
        _ = self
            .netstack
            .connect_within(PAGE, Duration::from_secs(2))
            .await;
        let seen = self.netstack.activity(&[gate]).await?;
        self.netstack.remove(&[gate]).await?;
        if seen
            .iter()
            .any(|activity| activity.last_handshake.is_some())
        {
            return Ok(HandshakeOutcome::Handshake);
        }
        // Such a peer is answered, even if it can't finish the handshake: absent is better.
        let own = self.profile.private_key.public_key();
        let installed = office.interface.list().await?;
        Ok(if installed.iter().any(|peer| peer.key == own) {
            HandshakeOutcome::Installed
        } else {
            HandshakeOutcome::NoHandshake
        })
    }

    /// Fetches the internal page through the tunnel; gives its status.
    pub(crate) async fn fetch_page(&self) -> Result<String, Box<dyn Error>> {
        let stream = self
            .netstack
            .connect_within(PAGE, Duration::from_secs(5))
            .await?;
        let (mut page, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let request = hyper::Request::get("/")
            .header("host", "office")
            .body(Empty::<Bytes>::new())?;
        Ok(page
            .send_request(request)
            .await?
            .status()
            .as_str()
            .to_owned())
    }
}

/// What plain WireGuard comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HandshakeOutcome {
    /// Nothing: the peer is not on the gate's interface.
    NoHandshake,
    /// The peer is there, with a preshared key that the device does not know.
    Installed,
    /// A handshake was answered.
    Handshake,
}

impl HandshakeOutcome {
    /// For the closing line.
    pub(crate) const fn in_short(self) -> &'static str {
        match self {
            Self::NoHandshake => "no handshake",
            Self::Installed => "installed",
            Self::Handshake => "handshake",
        }
    }

    pub(crate) const fn in_words(self) -> &'static str {
        match self {
            Self::NoHandshake => "no handshake: the peer is not on the gate's interface",
            Self::Installed => "no handshake, but the peer is on the gate's interface",
            Self::Handshake => "a handshake: the peer is on the gate's interface",
        }
    }
}

/// A service inside that sends back what it gets.
fn echo(interface: &Netstack) -> Result<(), Box<dyn Error>> {
    let mut listener = interface.listen(ECHO)?;
    tokio::spawn(async move {
        while let Some(stream) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = tokio::io::split(stream);
                tokio::io::copy(&mut read, &mut write).await
            });
        }
    });
    Ok(())
}

/// A stream of bytes through the tunnel and back, that notes when the last one came.
pub(crate) struct Traffic {
    echoes: JoinHandle<(u64, Instant)>,
    writer: JoinHandle<()>,
    stop: tokio::sync::oneshot::Sender<()>,
}

impl Traffic {
    pub(crate) async fn start(device: &Device) -> Result<Self, Box<dyn Error>> {
        let stream = device
            .netstack
            .connect_within(ECHO, Duration::from_secs(5))
            .await?;
        let (mut read, mut write) = tokio::io::split(stream);
        let (stop, mut stopped) = tokio::sync::oneshot::channel();
        let writer = tokio::spawn(async move {
            while write.write_all(b"ping").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        let echoes = tokio::spawn(async move {
            let (mut count, mut last) = (0, Instant::now());
            let mut buffer = [0; 512];
            loop {
                tokio::select! {
                    got = read.read(&mut buffer) => match got {
                        Ok(len) if len > 0 => (count, last) = (count + 1, Instant::now()),
                        Ok(_) | Err(_) => return (count, last),
                    },
                    _ = &mut stopped => return (count, last),
                }
            }
        });
        Ok(Self {
            echoes,
            writer,
            stop,
        })
    }

    /// How many came back, and when the last one did.
    pub(crate) async fn stop(self) -> (u64, Instant) {
        self.writer.abort();
        _ = self.stop.send(());
        self.echoes.await.unwrap_or((0, Instant::now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mfagate::key::PresharedKey;

    #[tokio::test]
    async fn a_peer_with_another_preshared_key_does_not_count_as_absent() {
        let internal = Internal::start().await.unwrap();
        let office = Office::open(&internal).await.unwrap();
        let laptop = office.device("laptop", "10.9.0.2/32").await.unwrap();
        // While it runs, a gate takes off who came without a lease.
        office.gate.shutdown().await;
        let own = laptop.profile.private_key.public_key();
        let addresses = laptop.profile.addresses.clone();
        let other = PresharedKey::from_bytes([7; 32]);
        for (psk, expected) in [
            (Some(other), HandshakeOutcome::Installed),
            (None, HandshakeOutcome::Handshake),
        ] {
            let peer = PeerConfig::new(own, psk, addresses.clone());
            office.interface.install(vec![peer]).await.unwrap();
            assert_eq!(laptop.knock(&office).await.unwrap(), expected);
        }
        office.interface.remove(&[own]).await.unwrap();
        assert_eq!(
            laptop.knock(&office).await.unwrap(),
            HandshakeOutcome::NoHandshake
        );
    }
}
