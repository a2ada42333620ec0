//! The parts of the story: a gate with its store and tunnel, devices, and codes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mfagate::assurance::FactorKind;
use mfagate::audit::{AuditRecord, verify};
use mfagate::channel::message::{Answer, Code, Denied, Hidden};
use mfagate::client::{NewFactor, Question, Response};
use mfagate::enrol::Registrar;
use mfagate::factor::totp::{TotpSecret, TotpVerifier};
use mfagate::id::UserId;
use mfagate::interface::InterfaceBackend;
use mfagate::interface::netstack::{NetStream, Netstack, NetstackError};
use mfagate::key::{PresharedKey, PrivateKey, PublicKey};
use mfagate::runtime::{Client, Gate, GateConfig, Profile, Prompt};
use mfagate::seal::{KeyRing, RingKey};
use mfagate::store::sqlite::SqliteStore;
use mfagate::store::{Peer, PeerStore};
use mfagate::testing::{FaultyStore, SimClock};
use mfagate::time::{Clock, Timestamp};
use tokio::task::JoinHandle;

const INSIDE: &str = "10.9.0.1:80";

/// What an office's gate does otherwise than others.
type Configure = Arc<dyn Fn(&mut GateConfig) + Send + Sync>;

/// A gate in front of a network.
pub(crate) struct Office {
    pub(crate) user: UserId,
    pub(crate) clock: SimClock,
    pub(crate) secret: TotpSecret,
    pub(crate) control: String,
    gate: Option<Gate>,
    interface: Netstack,
    store: Arc<dyn PeerStore>,
    pub(crate) registrar: Registrar,
    ring: KeyRing,
    key: PrivateKey,
    configure: Configure,
    server: JoinHandle<()>,
    _folder: tempfile::TempDir,
}

impl Office {
    pub(crate) async fn open() -> Self {
        Self::open_with(|_| ()).await
    }

    /// Opens with a store that fails as it is told to.
    pub(crate) async fn open_with(prepare: impl FnOnce(&FaultyStore)) -> Self {
        Self::open_as(Arc::new(|_: &mut GateConfig| ()), prepare).await
    }

    /// Opens with other factors, or another policy.
    pub(crate) async fn open_configured(
        configure: impl Fn(&mut GateConfig) + Send + Sync + 'static,
    ) -> Self {
        Self::open_as(Arc::new(configure), |_| ()).await
    }

    async fn open_as(configure: Configure, prepare: impl FnOnce(&FaultyStore)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = FaultyStore::new(SqliteStore::open(folder.path().join("gate.db")).unwrap());
        prepare(&store);
        let store: Arc<dyn PeerStore> = Arc::new(store);
        let ring = KeyRing::new("test".parse().unwrap(), RingKey::generate().unwrap());
        let clock = SimClock::default();
        // Today, so that a client on the real clock is within the window.
        clock.step_wall_to(mfagate::runtime::SystemClock::new().now().timestamp);
        let key = PrivateKey::generate().unwrap();
        let interface = inside(&key).await;
        let registrar = Registrar::new(Arc::clone(&store), ring.clone(), Arc::new(clock.clone()));
        let user: UserId = "alice".parse().unwrap();
        registrar.put_user(&user, true).await.unwrap();
        let enrolment = registrar.begin_totp(&user, "phone", "test").await.unwrap();
        let secret = enrolment.secret.clone();
        let first = secret
            .code(clock.now().timestamp - Duration::from_secs(30))
            .unwrap();
        registrar
            .confirm_totp(&user, enrolment.factor, first)
            .await
            .unwrap();
        let gate = start(&key, &ring, &store, &interface, &clock, &configure).await;
        let (control, server) = serve(gate.clone()).await;
        Self {
            user,
            clock,
            secret,
            control,
            gate: Some(gate),
            interface,
            store,
            registrar,
            ring,
            key,
            configure,
            server,
            _folder: folder,
        }
    }

    /// Another location of the same store, with an interface and a key of its own.
    pub(crate) async fn branch(&self) -> Branch {
        let key = PrivateKey::generate().unwrap();
        let interface = inside(&key).await;
        let configure: Configure = {
            let configure = Arc::clone(&self.configure);
            Arc::new(move |config: &mut GateConfig| {
                configure(config);
                config.location = "branch".parse().unwrap();
            })
        };
        let (ring, store, clock) = (&self.ring, &self.store, &self.clock);
        let gate = start(&key, ring, store, &interface, clock, &configure).await;
        let (control, _server) = serve(gate.clone()).await;
        Branch {
            gate,
            control,
            interface,
        }
    }

    /// Who is on the interface.
    pub(crate) async fn installed(&self) -> Vec<PublicKey> {
        let peers = self.interface.list().await.unwrap();
        peers.into_iter().map(|peer| peer.key).collect()
    }

    pub(crate) async fn disable_user(&self) {
        self.registrar.put_user(&self.user, false).await.unwrap();
    }

    pub(crate) fn gate(&self) -> &Gate {
        self.gate.as_ref().unwrap()
    }

    /// Stops the gate and starts another with the same store on a fresh interface at the same port.
    pub(crate) async fn restart(&mut self) {
        let gate = self.gate.take().unwrap();
        gate.shutdown().await;
        self.server.abort();
        assert!(self.interface.list().await.unwrap().is_empty());
        let gate = start(
            &self.key,
            &self.ring,
            &self.store,
            &self.interface,
            &self.clock,
            &self.configure,
        )
        .await;
        self.gate = Some(gate);
    }

    /// What the user is to enrol, with a token for it.
    pub(crate) async fn new_factor(&self, kind: FactorKind, label: &str) -> NewFactor {
        self.new_factor_of(&self.user, kind, label).await
    }

    /// The same for another user.
    pub(crate) async fn new_factor_of(
        &self,
        user: &UserId,
        kind: FactorKind,
        label: &str,
    ) -> NewFactor {
        let (kinds, ttl) = (vec![kind.clone()], Duration::from_secs(600));
        let issued = self.registrar.issue_token(user, kinds, ttl).await;
        NewFactor {
            kind,
            label: label.to_owned(),
            token: Hidden::new(issued.unwrap().expose_text().to_owned()),
        }
    }

    pub(crate) async fn device(&self, address: &str) -> Device {
        self.device_of(&self.user, address).await
    }

    /// A device of another user, who is there.
    pub(crate) async fn device_of(&self, user: &UserId, address: &str) -> Device {
        let private_key = PrivateKey::generate().unwrap();
        let addresses = vec![address.parse().unwrap()];
        let peer = Peer {
            location: self.gate().location().clone(),
            key: private_key.public_key(),
            user: user.clone(),
            allowed_ips: addresses.clone(),
            label: address.to_owned(),
            enabled: true,
        };
        self.registrar.put_peer(peer).await.unwrap();
        let netstack = Netstack::builder(private_key.clone())
            .listen(local())
            .address(address.parse().unwrap())
            .build()
            .await
            .unwrap();
        let profile = Profile {
            location: self.gate().location().clone(),
            location_key: self.gate().public_key(),
            control: vec![self.control.clone()],
            endpoint: self.interface.local_addr().into(),
            private_key,
            addresses,
            allowed_ips: vec!["10.9.0.0/24".parse().unwrap()],
            keepalive: None,
            dns: Vec::new(),
            mtu: None,
        };
        Device { profile, netstack }
    }

    pub(crate) fn right_code(&self) -> Code {
        self.secret.code(self.clock.now().timestamp).unwrap()
    }

    pub(crate) fn right_codes(&self) -> Codes {
        Codes::just(&self.right_code())
    }

    /// So many wrong codes and then the right one.
    pub(crate) fn wrong_then_right(&self, wrong: usize) -> Codes {
        let far = Timestamp::from_millis(86_400_000);
        let mut codes: Vec<Code> = (0..wrong)
            .map(|n| far + Duration::from_secs(30 * u64::try_from(n).unwrap()))
            .map(|at| self.secret.code(at).unwrap())
            .collect();
        codes.push(self.right_code());
        codes.reverse();
        Codes {
            codes,
            used: Vec::new(),
            denied: None,
        }
    }

    pub(crate) async fn audit(&self) -> Vec<AuditRecord> {
        self.store.audit(1, 10_000).await.unwrap()
    }

    pub(crate) async fn verify_audit(&self) {
        verify(&self.audit().await).unwrap();
    }

    pub(crate) async fn installed_psk(&self, peer: PublicKey) -> PresharedKey {
        let peers = self.interface.list().await.unwrap();
        let found = peers.into_iter().find(|config| config.key == peer).unwrap();
        found.psk.unwrap()
    }

    pub(crate) fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// The raw secret that the codes are made of.
    pub(crate) fn totp_bytes(&self) -> Vec<u8> {
        let text = self.secret.expose_base32();
        data_encoding::BASE32_NOPAD.decode(text.as_bytes()).unwrap()
    }

    /// Waits for something to become true, for as long as a test may take.
    pub(crate) async fn until(&self, is_so: impl Fn(&Gate) -> bool) {
        let wait = async {
            while !is_so(self.gate()) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait)
            .await
            .expect("it did not come true");
    }
}

/// A second gate on an office's store, at another location.
pub(crate) struct Branch {
    pub(crate) gate: Gate,
    control: String,
    interface: Netstack,
}

impl Branch {
    /// An office's device, enrolled here as well, with the key that it has.
    pub(crate) async fn device(&self, office: &Office, device: &Device) -> Device {
        let profile = Profile {
            location: self.gate.location().clone(),
            location_key: self.gate.public_key(),
            control: vec![self.control.clone()],
            endpoint: self.interface.local_addr().into(),
            ..device.profile.clone()
        };
        let peer = Peer {
            location: profile.location.clone(),
            key: device.key(),
            user: office.user.clone(),
            allowed_ips: profile.addresses.clone(),
            label: "branch".to_owned(),
            enabled: true,
        };
        office.registrar.put_peer(peer).await.unwrap();
        let netstack = device.netstack.clone();
        Device { profile, netstack }
    }
}

async fn inside(key: &PrivateKey) -> Netstack {
    let interface = Netstack::builder(key.clone())
        .listen(local())
        .address("10.9.0.1/24".parse().unwrap())
        .build()
        .await
        .unwrap();
    let mut listener = interface.listen(INSIDE.parse().unwrap()).unwrap();
    tokio::spawn(async move { while listener.accept().await.is_some() {} });
    interface
}

async fn start(
    key: &PrivateKey,
    ring: &KeyRing,
    store: &Arc<dyn PeerStore>,
    interface: &Netstack,
    clock: &SimClock,
    configure: &Configure,
) -> Gate {
    let mut config = GateConfig::new(
        "office".parse().unwrap(),
        key.clone(),
        ring.clone(),
        Arc::clone(store),
        Arc::new(interface.clone()),
    );
    config.verifiers.push(Arc::new(TotpVerifier::new()));
    config.clock = Arc::new(clock.clone());
    configure(&mut config);
    Gate::start(config).await.unwrap()
}

async fn serve(gate: Gate) -> (String, JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind(local()).await.unwrap();
    let control = format!("http://{}", listener.local_addr().unwrap());
    let app = mfagate::http::router(gate).into_make_service_with_connect_info::<SocketAddr>();
    let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (control, server)
}

fn local() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// A device of the user's.
pub(crate) struct Device {
    pub(crate) profile: Profile,
    netstack: Netstack,
}

impl Device {
    pub(crate) fn key(&self) -> PublicKey {
        self.profile.private_key.public_key()
    }

    pub(crate) fn interface(&self) -> Arc<dyn InterfaceBackend> {
        Arc::new(self.netstack.clone())
    }

    pub(crate) fn client(&self) -> Client {
        Client::builder(self.profile.clone())
            .interface(self.interface())
            .build()
            .unwrap()
    }

    /// Connects to the service inside.
    pub(crate) async fn reach(&self) -> Result<NetStream, NetstackError> {
        // WireGuard tries a handshake again after five seconds.
        self.netstack
            .connect_within(INSIDE.parse().unwrap(), Duration::from_secs(8))
            .await
    }
}

/// Answers, one after the other; then the user gives up.
pub(crate) struct Codes {
    codes: Vec<Code>,
    used: Vec<Code>,
    denied: Option<Denied>,
}

impl Codes {
    pub(crate) fn just(code: &Code) -> Self {
        Self {
            codes: vec![code.clone()],
            used: Vec::new(),
            denied: None,
        }
    }

    pub(crate) fn used(&self) -> &[Code] {
        &self.used
    }

    pub(crate) fn last_denied(&self) -> Option<&Denied> {
        self.denied.as_ref()
    }
}

#[async_trait]
impl Prompt for Codes {
    async fn answer(&mut self, question: &Question) -> Option<Response> {
        self.denied = question.denied.clone().or(self.denied.take());
        let code = self.codes.pop()?;
        self.used.push(code.clone());
        Some(Answer::Code { code }.into())
    }
}
