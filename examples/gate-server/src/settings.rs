//! The configuration file, and what lies in the state directory next to it.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt::Display;
use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ipnet::IpNet;
use mfagate::audit::HeadFile;
use mfagate::client::Endpoint;
use mfagate::enrol::{AddressPlan, Registrar};
use mfagate::gate::ProfileTemplate;
use mfagate::id::LocationId;
use mfagate::key::{PrivateKey, PublicKey};
use mfagate::policy::Policy;
use mfagate::seal::{KeyRing, RingKey};
use mfagate::store::SqliteStore;
use mfagate::time::SystemClock;
use mfagate_examples::backend::{Backend, Program};
use serde::{Deserialize, Deserializer, de};

use crate::verifiers::Kinds;

const STATE: &str = "state";
const KEY: &str = "gate.key";
const RING: &str = "ring.keys";

const TEMPLATE: &str = r#"# mfagate gate-server
location = "office"
state = "state"                        # beside this file, unless absolute
control_listen = "127.0.0.1:8080"      # put TLS in front of it
control_url = "http://127.0.0.1:8080"  # what clients are told
wireguard_listen = "127.0.0.1:51820"   # "[::]:51820" is every address, and all that kernel can
endpoint = "127.0.0.1:51820"           # what clients are told
address = "10.9.0.1/24"                # the gate, inside; or ["10.9.0.1/24", "fd09::1/64"]
networks = ["10.9.0.0/24"]             # what clients route here
# dns = ["10.9.0.1"]                   # what clients may ask for names
# mtu = 1420                           # bytes inside the tunnel
# keepalive = 25                       # seconds: keeps a client's path through a NAT open

[interface]
backend = "netstack"                   # or userspace, kernel, uapi: these need CAP_NET_ADMIN
name = "wg0"                           # not for netstack
lease_guard = false                    # the kernel ends leases, also without this daemon
forward = false                        # pass packets on to other interfaces of this machine
masquerade = false                     # ... with this machine's own address
# socket = "/run/wireguard/wg0.sock"   # for uapi: where the program's is, if it is elsewhere
# renews_in_place = false              # for uapi: true for wireguard-go, whose renewals lose nothing
# danger_unmanaged_peers = []          # public keys that pass without MFA; not with lease_guard

[policy]                               # `gate-server policy explain` says what it comes to
steps = [{ any_of = ["totp"] }]
max_age = "8h"
lease = "8h"
# inactivity = "1h"                   # end a session after so long without payload
# endpoint_change = "off"              # or warn, reauthenticate: when a client changes networks

# Settings of the factors that [policy] can name. totp and recovery-codes have none.
# [factors]
# device_key = { protection = "hardware" }        # the least; or hardware_user_verified
# password = { beside_another_factor = true, blocklist = "common.txt" }  # 8 characters, not 15
# [factors.webauthn]                   # passkeys and security keys
# rp_id = "gate.example.com"
# origins = []                         # more than https://<rp_id>: of apps, say
# device_bound_only = false            # refuse passkeys that are synchronised
# [factors.email]                      # email-code: weak, and never enough for AAL2
# from = "gate@example.com"
# server = "smtp.example.com"
# tls = "implicit"                     # or starttls
# user = "gate"
# password_file = "state/smtp.password"
# root_certificate = "ca.pem"          # of an authority of your own
# [[factors.oidc]]                     # OpenID providers; users enrol at the first
# at = { issuer = "https://id.example.com" }  # or "google", "jumpcloud", { okta = { domain = "…" } },
#                                      # { microsoft = { tenant = "…" } },
#                                      # { keycloak = { server = "https://…", realm = "staff" } }
# client_id = "mfagate"                # and client_secret_file, if it has one
# loopback = "/callback"               # register http://127.0.0.1/callback there, for connect
# redirects = []                       # of apps: "com.example.app:/callback"
# device_grant = false                 # for machines without a browser
# workloads = false                    # ID tokens of programs
# scopes = []                          # "email", to bind users by their address
# max_age = "5m"                       # of a login; or "danger-any", where the provider tells none
# require_acr = []                     # one of them
# user_verified = { acr = [], amr = ["mfa"] }  # what the provider says of two factors
# phishing_resistant = { acr = [], amr = [] }

# [[forwards]]                         # for netstack: a service of the host's
# at = "10.9.0.1:80"                   # inside
# to = "127.0.0.1:8000"
"#;

/// The configuration file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) location: LocationId,
    state: PathBuf,
    /// Where the configuration file is, and its relative paths begin.
    #[serde(skip)]
    folder: PathBuf,
    /// Whether to go on with a store that is older than it was.
    #[serde(skip)]
    pub(crate) danger_accept_older_store: bool,
    /// Held while this process uses the key ring.
    #[serde(skip)]
    ring_in_use: OnceLock<File>,
    pub(crate) control_listen: SocketAddr,
    pub(crate) control_url: String,
    pub(crate) wireguard_listen: SocketAddr,
    #[serde(deserialize_with = "parsed")]
    pub(crate) endpoint: Endpoint,
    #[serde(rename = "address", deserialize_with = "one_or_more")]
    pub(crate) addresses: Vec<IpNet>,
    pub(crate) networks: Vec<IpNet>,
    #[serde(default)]
    pub(crate) dns: Vec<IpAddr>,
    pub(crate) mtu: Option<u16>,
    pub(crate) keepalive: Option<u16>,
    pub(crate) interface: InterfaceSettings,
    pub(crate) policy: Policy,
    #[serde(default)]
    pub(crate) factors: Kinds,
    #[serde(default)]
    pub(crate) forwards: Vec<Forwarded>,
}

/// The interface as the system sees it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InterfaceSettings {
    pub(crate) backend: Backend,
    pub(crate) name: String,
    pub(crate) lease_guard: bool,
    pub(crate) forward: bool,
    pub(crate) masquerade: bool,
    /// Of another program, for `uapi`.
    socket: Option<PathBuf>,
    #[serde(default)]
    renews_in_place: bool,
    #[serde(default)]
    pub(crate) danger_unmanaged_peers: BTreeSet<PublicKey>,
}

impl InterfaceSettings {
    /// The program that runs the interface.
    pub(crate) fn program(&self) -> Program<'_> {
        Program {
            socket: self.socket.as_deref(),
            renews_in_place: self.renews_in_place,
            mtu: None,
        }
    }

    /// The same of an interface of this name: what is set is about the one that is served.
    pub(crate) fn program_of(&self, name: &str) -> Program<'_> {
        if name == self.name {
            self.program()
        } else {
            Program::default()
        }
    }

    /// Whether this peer passes by the gate only; those that pass without MFA are left alone.
    pub(crate) fn manages(&self, peer: &PublicKey) -> bool {
        !self.danger_unmanaged_peers.contains(peer)
    }
}

/// A service inside.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Forwarded {
    pub(crate) at: SocketAddr,
    pub(crate) to: SocketAddr,
}

/// Reads one address with its network, or a list of them.
fn one_or_more<'de, D: Deserializer<'de>>(field: D) -> Result<Vec<IpNet>, D::Error> {
    #[derive(Deserialize)]
    #[serde(
        untagged,
        expecting = "an address with its network, as in \"10.9.0.1/24\", or a list of them"
    )]
    enum Addresses {
        One(IpNet),
        More(Vec<IpNet>),
    }
    match Addresses::deserialize(field)? {
        Addresses::One(address) => Ok(vec![address]),
        Addresses::More(addresses) => Ok(addresses),
    }
}

/// Reads what has a text for its form.
pub(crate) fn parsed<'de, D: Deserializer<'de>, T>(field: D) -> Result<T, D::Error>
where
    T: FromStr<Err: Display>,
{
    String::deserialize(field)?
        .parse()
        .map_err(de::Error::custom)
}

/// What is wrong with a TOML text, and where. The line itself is not repeated, as it is in the
/// error's own text: a password may be in it, though none belongs there.
fn fault(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start));
    let line = before.map(|before| format!("line {}: ", before.matches('\n').count() + 1));
    format!("{}{}", line.unwrap_or_default(), error.message())
}

impl Settings {
    pub(crate) fn read(config: &Path) -> Result<Self, Box<dyn Error>> {
        let text = std::fs::read_to_string(config).map_err(|error| {
            format!(
                "{}: {error}; `gate-server init` writes one",
                config.display()
            )
        })?;
        // First, since it knows the line of a fault where serde knows that of the table.
        Policy::from_toml_table(&text, "policy")
            .map_err(|error| format!("{}: {error}", config.display()))?;
        let mut settings: Self = toml::from_str(&text)
            .map_err(|error| format!("{}: {}", config.display(), fault(&text, &error)))?;
        settings.folder = config.parent().unwrap_or(Path::new(".")).to_owned();
        settings.state = settings.folder.join(&settings.state);
        let socket = &mut settings.interface.socket;
        *socket = socket.take().map(|socket| settings.folder.join(socket));
        Ok(settings)
    }

    /// Says what does not fit together, before anything is changed for it.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        let InterfaceSettings {
            backend,
            lease_guard,
            forward,
            masquerade,
            ref socket,
            renews_in_place,
            ref danger_unmanaged_peers,
            ..
        } = self.interface;
        if backend != Backend::Uapi && (socket.is_some() || renews_in_place) {
            return Err(
                "socket and renews_in_place in [interface] are for another program's WireGuard: take them out, or set backend to uapi",
            );
        }
        if backend == Backend::Netstack && (lease_guard || forward || masquerade) {
            return Err(
                "lease_guard, forward and masquerade are for an interface of the system: set them to false, or take another backend than netstack",
            );
        }
        if backend != Backend::Netstack && !self.forwards.is_empty() {
            return Err(
                "[[forwards]] are for the backend netstack: take them out, and see `forward` in [interface]",
            );
        }
        if backend == Backend::Kernel && !self.wireguard_listen.ip().is_unspecified() {
            return Err(
                "the kernel's WireGuard listens at every address, not at that of wireguard_listen alone: set this to [::] with its port and let a firewall keep others out, or take another backend than kernel",
            );
        }
        if lease_guard && !danger_unmanaged_peers.is_empty() {
            return Err(
                "the lease guard lets no one pass without a lease, and so would cut off danger_unmanaged_peers: set lease_guard to false, or enrol these peers and take them out of the list, or give them an interface of their own",
            );
        }
        Ok(())
    }

    pub(crate) fn key(&self) -> Result<PrivateKey, Box<dyn Error>> {
        let path = self.state.join(KEY);
        let text = std::fs::read_to_string(&path).map_err(|error| {
            format!("{}: {error}; `gate-server init` writes one", path.display())
        })?;
        Ok(text.trim().parse()?)
    }

    /// The key ring. From here on, until this process ends, no other process changes it.
    pub(crate) fn ring(&self) -> Result<KeyRing, Box<dyn Error>> {
        let lock = self.ring_lock()?;
        lock.lock_shared()?;
        _ = self.ring_in_use.set(lock); // one is enough
        Ok(KeyRing::read(&self.ring_file())?)
    }

    /// The key ring, to change it: no daemon and no command knows the keys that it has now.
    pub(crate) fn ring_alone(&self) -> Result<(File, KeyRing), Box<dyn Error>> {
        let lock = self.ring_lock()?;
        match lock.try_lock() {
            Ok(()) => Ok((lock, KeyRing::read(&self.ring_file())?)),
            Err(TryLockError::WouldBlock) => Err(format!(
                "a daemon or a command uses the key ring of {}, and would go on with the keys that it knows: stop the daemon, whose sessions go on when it runs again, or wait for the command to end",
                self.state.display()
            )
            .into()),
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }

    fn ring_lock(&self) -> Result<File, String> {
        let path = self.state.join("ring.lock");
        File::create(&path).map_err(|error| format!("{}: {error}", path.display()))
    }

    pub(crate) fn ring_file(&self) -> PathBuf {
        self.state.join(RING)
    }

    /// Where the daemon writes down how far it saw the audit trail go.
    pub(crate) fn head_file(&self) -> HeadFile {
        HeadFile::new(self.state.join("audit.head"))
    }

    pub(crate) fn store(&self) -> Result<Arc<SqliteStore>, Box<dyn Error>> {
        Ok(Arc::new(SqliteStore::open(self.state.join("gate.db"))?))
    }

    pub(crate) fn registrar(&self) -> Result<Registrar, Box<dyn Error>> {
        let registrar = Registrar::new(self.store()?, self.ring()?, self.clock());
        Ok(registrar.with_addresses(self.address_plan()))
    }

    /// Where peers may be.
    pub(crate) fn address_plan(&self) -> AddressPlan {
        AddressPlan::new(self.addresses.clone(), self.networks.clone())
    }

    /// What every profile says.
    pub(crate) fn profile_template(&self) -> Result<ProfileTemplate, Box<dyn Error>> {
        Ok(ProfileTemplate {
            location: self.location.clone(),
            location_key: self.key()?.public_key(),
            control: vec![self.control_url.clone()],
            endpoint: self.endpoint.clone(),
            allowed_ips: self.networks.clone(),
            keepalive: self
                .keepalive
                .map(|seconds| Duration::from_secs(seconds.into())),
            dns: self.dns.clone(),
            mtu: self.mtu,
        })
    }

    pub(crate) fn clock(&self) -> Arc<SystemClock> {
        Arc::new(SystemClock::new())
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// What the daemon has changed on the system.
    pub(crate) fn changes(&self) -> PathBuf {
        self.state.join("changes.json")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.state.join("admin.sock")
    }

    /// Makes this process the only one that serves, or changes sessions behind a server's back.
    /// The system gives the lock back however the process ends.
    pub(crate) fn lock(&self) -> Result<File, Box<dyn Error>> {
        self.lock_if_free()?.ok_or_else(|| self.is_locked().into())
    }

    /// The same; `None` where another process has the lock.
    pub(crate) fn lock_if_free(&self) -> Result<Option<File>, Box<dyn Error>> {
        let path = self.state.join("lock");
        let failed = |error| format!("{}: {error}", path.display());
        let lock = File::create(&path).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(lock)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(failed(error).into()),
        }
    }

    /// What to say where another process has the lock.
    pub(crate) fn is_locked(&self) -> String {
        format!(
            "another gate-server runs on {}, or is just starting or stopping",
            self.state.display()
        )
    }
}

/// Writes a configuration, a key and a key ring: all of them or none. Overwrites nothing.
pub(crate) fn init(config: &Path) -> Result<(), Box<dyn Error>> {
    let folder = match config.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let state = folder.join(STATE);
    for path in [config, &state] {
        if path.try_exists()? {
            return Err(format!("{} is there already: nothing was written", path.display()).into());
        }
    }
    let unfinished = tempfile::Builder::new()
        .prefix(".init-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(folder)?;
    let key = PrivateKey::generate()?;
    write_new(
        &unfinished.path().join(KEY),
        &format!("{}\n", *key.expose_base64()),
    )?;
    KeyRing::new("first".parse()?, RingKey::generate()?)
        .write_new(&unfinished.path().join(RING))?;
    write_new(config, TEMPLATE)?;
    if let Err(error) = std::fs::rename(unfinished.path(), &state) {
        std::fs::remove_file(config)?;
        return Err(error.into());
    }
    // It is where it belongs now: there is nothing left to remove.
    _ = unfinished.keep();
    println!("Wrote {} and {}.", config.display(), state.display());
    Ok(())
}

/// Writes a file that only its owner may read, and that was not there before: all of it, or none.
pub(crate) fn write_new(path: &Path, text: &str) -> Result<(), Box<dyn Error>> {
    NewFile::create(path)?.write(text)
}

/// A file that only its owner may read, that was not there before, and that is removed again unless
/// it is written.
pub(crate) struct NewFile {
    path: PathBuf,
    file: Option<File>,
}

impl NewFile {
    pub(crate) fn create(path: &Path) -> Result<Self, Box<dyn Error>> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(path);
        let file = file.map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            file: Some(file),
        })
    }

    /// Writes all of it, or removes the file.
    pub(crate) fn write(mut self, text: &str) -> Result<(), Box<dyn Error>> {
        let written = self.file.as_mut().map_or(Ok(()), |file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
        written.map_err(|error| format!("{}: {error}", self.path.display()))?;
        self.file = None;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if self.file.is_some()
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            eprintln!("gate-server: {} stays: {error}", self.path.display());
        }
    }
}
