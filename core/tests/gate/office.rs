//! The parts of the story: a gate with its store and tunnel, devices, and codes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mfagate::assurance::FactorKind;
use mfagate::audit::{AuditEvent, AuditKind, AuditRecord, EndReason, FailureReason, verify};
use mfagate::channel::message::{Answer, Code, Denied, SecretString};
use mfagate::client::{
    AuthChallenge, Client, ClientBuilder, EnrolRequest, Profile, Prompt, PromptFailed, Response,
};
use mfagate::enrol::Registrar;
use mfagate::factor::totp::{TotpSecret, TotpVerifier};
use mfagate::gate::{Gate, GateConfig};
use mfagate::id::{SessionId, UserId};
use mfagate::interface::InterfaceBackend;
use mfagate::interface::netstack::{NetStream, Netstack, NetstackError};
use mfagate::key::{PresharedKey, PrivateKey, PublicKey};
use mfagate::policy::Throttle;
use mfagate::seal::{KeyRing, RingKey};
use mfagate::store::sqlite::SqliteStore;
use mfagate::store::{AdminStore, FactorFailure, FailureRecorded, Peer};
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
    store: Arc<dyn AdminStore>,
    pub(crate) registrar: Registrar,
    ring: KeyRing,
    key: PrivateKey,
    configure: Configure,
    server: JoinHandle<()>,
    folder: tempfile::TempDir,
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
        let store: Arc<dyn AdminStore> = Arc::new(store);
        let ring = KeyRing::new("test".parse().unwrap(), RingKey::generate().unwrap());
        let clock = SimClock::default();
        // Today, so that a client on the real clock is within the window.
        clock.step_wall_to(mfagate::time::SystemClock::new().now().timestamp);
        let key = PrivateKey::generate().unwrap();
        let interface = inside(&key).await;
        let registrar = Registrar::new(Arc::clone(&store), ring.clone(), Arc::new(clock.clone()));
        let user: UserId = "alice".parse().unwrap();
        registrar.put_user(&user, true).await.unwrap();
        let enrolment = registrar
            .begin_totp(&user, &"phone".parse().unwrap(), "test")
            .await
            .unwrap();
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
            folder,
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

    /// Where the store is.
    pub(crate) fn database(&self) -> PathBuf {
        self.folder.path().join("gate.db")
    }

    /// Waits until everybody is off the interface.
    pub(crate) async fn until_nobody_is_in(&self) {
        let wait = async {
            while !self.installed().await.is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let left = tokio::time::timeout(Duration::from_secs(20), wait).await;
        left.expect("someone stays");
    }

    /// How a session ended, if it has.
    pub(crate) async fn ended(&self, session: SessionId) -> Option<EndReason> {
        let session = self.store.session(session).await.unwrap().unwrap();
        session.ended.map(|(reason, _)| reason)
    }

    /// Notes wrong answers of the user's, by a clock that is so far ahead.
    pub(crate) async fn fail(&self, times: u32, ahead: Duration) {
        let factor = self.registrar.factors(&self.user).await.unwrap()[0].id;
        for n in 0..times {
            let at = self.clock.now().timestamp + ahead + Duration::from_secs(3600) * n;
            let reason = FailureReason::Wrong;
            let failure = FactorFailure {
                factor,
                at,
                throttle: Throttle::default(),
                event: AuditEvent::new(at, AuditKind::Denied { reason }),
            };
            let counted = self.store.record_failure(failure).await.unwrap();
            assert!(matches!(counted, FailureRecorded::Counted(_)));
        }
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
    pub(crate) async fn new_factor(&self, kind: FactorKind, label: &str) -> EnrolRequest {
        self.new_factor_of(&self.user, kind, label).await
    }

    /// The same for another user.
    pub(crate) async fn new_factor_of(
        &self,
        user: &UserId,
        kind: FactorKind,
        label: &str,
    ) -> EnrolRequest {
        let (kinds, ttl) = (vec![kind.clone()], Duration::from_secs(600));
        let issued = self.registrar.issue_token(user, kinds, ttl).await;
        EnrolRequest {
            kind,
            label: label.parse().unwrap(),
            token: SecretString::new(issued.unwrap().expose_text().to_owned()),
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
            label: address.parse().unwrap(),
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
            label: "branch".parse().unwrap(),
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
    store: &Arc<dyn AdminStore>,
    interface: &Netstack,
    clock: &SimClock,
    configure: &Configure,
) -> Gate {
    let mut config = GateConfig::new(
        "office".parse().unwrap(),
        key.clone(),
        ring.clone(),
        store.clone(),
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
    let never = std::future::pending();
    let server = tokio::spawn(mfagate::http::serve(listener, gate, never));
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
        self.builder().build().unwrap()
    }

    pub(crate) fn builder(&self) -> ClientBuilder {
        Client::builder(self.profile.clone()).interface(self.interface())
    }

    /// The device after its process has ended: the tunnel in it is gone.
    pub(crate) async fn restarted(self) -> Self {
        let Self { profile, netstack } = self;
        drop(netstack);
        let netstack = Netstack::builder(profile.private_key.clone())
            .listen(local())
            .address(profile.addresses[0])
            .build()
            .await
            .unwrap();
        Self { profile, netstack }
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

    /// Never gets to the last one, which is right.
    pub(crate) fn give_up_before_the_last(&mut self) {
        self.codes.remove(0);
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
    async fn answer(&mut self, question: &AuthChallenge) -> Result<Option<Response>, PromptFailed> {
        self.denied = question.denied.clone().or(self.denied.take());
        let code = self.codes.pop();
        self.used.extend(code.clone());
        Ok(code.map(|code| Answer::Code { code }.into()))
    }
}
