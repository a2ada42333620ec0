//! A gate made piece by piece, with what its registrar writes into profiles.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::IpAddr;
#[cfg(feature = "sqlite")]
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

#[cfg(feature = "sqlite")]
use super::folder::{Folder, OpenError};
use super::{
    Gate, GateConfig, LocationRegistrar, ProfileTemplate, StartError, StartFault, Timeouts,
};
use crate::audit::HeadFile;
use crate::authorise::Authoriser;
use crate::enrol::{AddressPlan, EnrolError, EnrolFault, Registrar};
use crate::factor::MfaVerifier;
use crate::id::LocationId;
use crate::interface::InterfaceBackend;
use crate::key::{PrivateKey, PublicKey};
use crate::policy::Policy;
use crate::runtime::{Endpoint, IntoArc, SystemClock};
use crate::seal::KeyRing;
use crate::store::AdminStore;
use crate::time::Clock;

/// A gate in the making.
///
/// ```no_run
/// # #[cfg(all(feature = "sqlite", feature = "netstack", feature = "totp"))]
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// use mfagate::Gate;
/// use mfagate::client::Endpoint;
/// use mfagate::factor::totp::TotpVerifier;
/// use mfagate::interface::netstack::Netstack;
///
/// let office = Gate::open("/var/lib/office", "office".parse()?)?;
/// let inside = Netstack::builder(office.private_key().clone())
///     .listen("[::]:51820".parse()?)
///     .address("10.9.0.1/24".parse()?)
///     .build()
///     .await?;
/// let gate = office
///     .interface(inside)
///     .verifier(TotpVerifier::new())
///     .address("10.9.0.1/24".parse()?)
///     .endpoint("vpn.example.org:51820".parse::<Endpoint>()?)
///     .control("https://vpn.example.org")
///     .start()
///     .await?;
/// let alice = "alice".parse()?;
/// gate.registrar()?.put_user(&alice, true).await?;
/// let profile = gate.registrar()?.enrol_device(&alice, &"laptop".parse()?, &[]).await?;
/// # gate.shutdown().await;
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct GateBuilder {
    location: LocationId,
    private_key: PrivateKey,
    key_ring: KeyRing,
    store: Arc<dyn AdminStore>,
    interface: Option<Arc<dyn InterfaceBackend>>,
    policy: Policy,
    verifiers: Vec<Arc<dyn MfaVerifier>>,
    authoriser: Option<Arc<dyn Authoriser>>,
    clock: Arc<dyn Clock>,
    timeouts: Timeouts,
    head_file: Option<HeadFile>,
    danger_accept_older_store: bool,
    danger_unmanaged_peers: BTreeSet<PublicKey>,
    locks: Vec<File>,
    endpoint: Option<Endpoint>,
    control: Vec<String>,
    addresses: Vec<IpNet>,
    networks: Vec<IpNet>,
    dns: Vec<IpAddr>,
    mtu: Option<u16>,
    keepalive: Option<Duration>,
}

impl Gate {
    /// Begins a gate of the location with what is in this folder: the location's private key, the
    /// key ring, a SQLite store, and the head of its audit trail as it was last seen. Makes the
    /// folder (mode 0700) and the files (0600) where they are not there yet. The folder that holds
    /// it must exist.
    ///
    /// The folder belongs to one gate at a time: the builder, and then the gate, holds a lock on it
    /// until it has shut down. Blocks the calling thread while it reads and writes the files.
    ///
    /// The head file is only worth something where it is not put back together with the store:
    /// leave `audit.head` out of a backup of this folder, or see [`GateBuilder::head_file`].
    ///
    /// # Errors
    /// [`OpenError`]: when another gate has the folder, when others may open any of it or another
    /// user owns it, and when a store is there without its keys.
    #[cfg(feature = "sqlite")]
    pub fn open(folder: impl AsRef<Path>, location: LocationId) -> Result<GateBuilder, OpenError> {
        let Folder {
            private_key,
            key_ring,
            store,
            head_file,
            locks,
        } = Folder::open(folder.as_ref())?;
        let mut builder = Self::builder(location, private_key, key_ring, store);
        builder.head_file = Some(head_file);
        builder.locks = locks;
        Ok(builder)
    }

    /// Begins a gate of the location, with its private key, the keys that seal what its store keeps,
    /// and that store.
    pub fn builder(
        location: LocationId,
        private_key: PrivateKey,
        key_ring: KeyRing,
        store: impl IntoArc<dyn AdminStore>,
    ) -> GateBuilder {
        GateBuilder {
            location,
            private_key,
            key_ring,
            store: store.into_arc(),
            interface: None,
            policy: Policy::default(),
            verifiers: Vec::new(),
            authoriser: None,
            clock: Arc::new(SystemClock::new()),
            timeouts: Timeouts::default(),
            head_file: None,
            danger_accept_older_store: false,
            danger_unmanaged_peers: BTreeSet::new(),
            locks: Vec::new(),
            endpoint: None,
            control: Vec::new(),
            addresses: Vec::new(),
            networks: Vec::new(),
            dns: Vec::new(),
            mtu: None,
            keepalive: None,
        }
    }

    /// Enrols users and devices of this location. It knows what
    /// [`GateBuilder::endpoint`] and its neighbours said, and works on after the gate has stopped.
    ///
    /// # Errors
    /// `enrol-no-registrar` of a gate that was started from a [`GateConfig`], which says no
    /// more of its store than a gate needs.
    pub fn registrar(&self) -> Result<LocationRegistrar, EnrolError> {
        let registrar = self.shared.registrar.clone();
        registrar.ok_or(EnrolError(EnrolFault::NoRegistrar))
    }
}

impl GateBuilder {
    /// The location's private key, for its WireGuard interface.
    pub const fn private_key(&self) -> &PrivateKey {
        &self.private_key
    }

    /// The WireGuard interface, which has the [private key](Self::private_key) of the location.
    pub fn interface(mut self, interface: impl IntoArc<dyn InterfaceBackend>) -> Self {
        self.interface = Some(interface.into_arc());
        self
    }

    /// The rules. Without them: [`Policy::default`], a one-time password once per working day.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// A verifier, after those given before: one for each kind of factor that the policy names.
    pub fn verifier(mut self, verifier: impl IntoArc<dyn MfaVerifier>) -> Self {
        self.verifiers.push(verifier.into_arc());
        self
    }

    /// Asked after the factors and before each grant.
    pub fn authoriser(mut self, authoriser: impl IntoArc<dyn Authoriser>) -> Self {
        self.authoriser = Some(authoriser.into_arc());
        self
    }

    /// The time; the system's clocks by default.
    pub fn clock(mut self, clock: impl IntoArc<dyn Clock>) -> Self {
        self.clock = clock.into_arc();
        self
    }

    /// How long to wait for others.
    pub const fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// Where the gate writes down what it last saw of the store's audit chain, as
    /// [`GateConfig::head_file`] says. [`Gate::open`] has one in its folder.
    pub fn head_file(mut self, file: HeadFile) -> Self {
        self.head_file = Some(file);
        self
    }

    /// Starts on an older copy of the store, once: see [`GateConfig::danger_accept_older_store`].
    pub const fn danger_accept_older_store(mut self) -> Self {
        self.danger_accept_older_store = true;
        self
    }

    /// Leaves this peer of an adopted interface alone, as
    /// [`GateConfig::danger_unmanaged_peers`] says: it passes without MFA.
    pub fn danger_unmanaged_peer(mut self, peer: PublicKey) -> Self {
        self.danger_unmanaged_peers.insert(peer);
        self
    }

    /// An address of the gate's own inside the tunnel, with its network, as in `10.9.0.1/24`. New
    /// devices get the next free addresses of it.
    pub fn address(mut self, address: IpNet) -> Self {
        self.addresses.push(address);
        self
    }

    /// A network that clients route into the tunnel. Without any: those of the
    /// [addresses](Self::address).
    pub fn network(mut self, network: IpNet) -> Self {
        self.networks.push(network);
        self
    }

    /// Where clients reach the location's WireGuard.
    pub fn endpoint(mut self, endpoint: impl Into<Endpoint>) -> Self {
        self.endpoint = Some(endpoint.into());
        self
    }

    /// A control URL of the location, after those given before. Clients try them in this order.
    pub fn control(mut self, url: impl Into<String>) -> Self {
        self.control.push(url.into());
        self
    }

    /// A resolver inside the tunnel, for profiles.
    pub fn dns(mut self, resolver: IpAddr) -> Self {
        self.dns.push(resolver);
        self
    }

    /// The largest packet inside the tunnel, in bytes, for profiles.
    pub const fn mtu(mut self, mtu: u16) -> Self {
        self.mtu = Some(mtu);
        self
    }

    /// The clients' persistent keepalive, in whole seconds, for profiles.
    pub const fn keepalive(mut self, every: Duration) -> Self {
        self.keepalive = Some(every);
        self
    }

    /// Starts the gate, as [`Gate::start`] does.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(self) -> Result<Gate, StartError> {
        let registrar = self.registrar();
        let interface = self.interface.ok_or(StartFault::NoInterface)?;
        let (location, private_key) = (self.location, self.private_key);
        let mut config =
            GateConfig::new(location, private_key, self.key_ring, self.store, interface);
        config.policy = self.policy;
        config.verifiers = self.verifiers;
        config.authoriser = self.authoriser;
        config.clock = self.clock;
        config.timeouts = self.timeouts;
        config.head_file = self.head_file;
        config.danger_accept_older_store = self.danger_accept_older_store;
        config.danger_unmanaged_peers = self.danger_unmanaged_peers;
        config.registrar = Some(registrar);
        config.locks = self.locks;
        Gate::start(config).await
    }

    fn registrar(&self) -> LocationRegistrar {
        let (store, clock) = (Arc::clone(&self.store), Arc::clone(&self.clock));
        let mut registrar = Registrar::new(store, self.key_ring.clone(), clock);
        if !self.addresses.is_empty() {
            let plan = AddressPlan::new(self.addresses.clone(), self.networks.clone());
            registrar = registrar.with_addresses(plan);
        }
        let Some(endpoint) = self.endpoint.clone() else {
            return LocationRegistrar::without_template(registrar);
        };
        let own = self.addresses.iter().map(IpNet::trunc);
        let template = ProfileTemplate {
            location: self.location.clone(),
            location_key: self.private_key.public_key(),
            control: self.control.clone(),
            endpoint,
            allowed_ips: if self.networks.is_empty() {
                own.collect()
            } else {
                self.networks.clone()
            },
            keepalive: self.keepalive,
            dns: self.dns.clone(),
            mtu: self.mtu,
        };
        LocationRegistrar::new(registrar, template)
    }
}

impl std::fmt::Debug for GateBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GateBuilder")
            .field("location", &self.location)
            .finish_non_exhaustive()
    }
}
