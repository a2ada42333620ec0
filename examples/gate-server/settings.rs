//! The configuration file, and what lies in the state directory next to it.

use std::error::Error;
use std::fs::OpenOptions;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipnet::IpNet;
use mfagate::enrol::Registrar;
use mfagate::id::LocationId;
use mfagate::key::PrivateKey;
use mfagate::runtime::SystemClock;
use mfagate::seal::{KeyRing, RingKey};
use mfagate::store::SqliteStore;
use serde::Deserialize;

const TEMPLATE: &str = r#"# mfagate gate-server
location = "office"
state = "state"                        # beside this file, unless absolute
control_listen = "127.0.0.1:8080"      # put TLS in front of it
control_url = "http://127.0.0.1:8080"  # what clients are told
wireguard_listen = "127.0.0.1:51820"
endpoint = "127.0.0.1:51820"           # what clients are told
address = "10.9.0.1/24"                # the gate, inside
networks = ["10.9.0.0/24"]             # what clients route here

[policy]
max_age = 28800                        # seconds
lease = 28800

# [[forwards]]
# at = "10.9.0.1:80"                   # inside
# to = "127.0.0.1:8000"
"#;

/// The configuration file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) location: LocationId,
    state: PathBuf,
    pub(crate) control_listen: SocketAddr,
    pub(crate) control_url: String,
    pub(crate) wireguard_listen: SocketAddr,
    pub(crate) endpoint: String,
    pub(crate) address: IpNet,
    pub(crate) networks: Vec<IpNet>,
    pub(crate) policy: Spans,
    #[serde(default)]
    pub(crate) forwards: Vec<Forwarded>,
}

/// The policy's spans, in seconds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Spans {
    pub(crate) max_age: u64,
    pub(crate) lease: u64,
}

/// A service inside.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Forwarded {
    pub(crate) at: SocketAddr,
    pub(crate) to: SocketAddr,
}

impl Settings {
    /// Writes a template, a key and a ring. Overwrites nothing.
    pub(crate) fn init(config: &Path) -> Result<(), Box<dyn Error>> {
        write_new(config, TEMPLATE)?;
        let settings = Self::read(config)?;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&settings.state)?;
        let key = PrivateKey::generate()?;
        write_new(&settings.key_path(), &format!("{}\n", *key.expose_base64()))?;
        KeyRing::new("first".parse()?, RingKey::generate()?).write_new(&settings.ring_path())?;
        println!(
            "Wrote {} and {}.",
            config.display(),
            settings.state.display()
        );
        Ok(())
    }

    pub(crate) fn read(config: &Path) -> Result<Self, Box<dyn Error>> {
        let text = std::fs::read_to_string(config).map_err(|error| {
            format!(
                "{}: {error}; `gate-server init` writes one",
                config.display()
            )
        })?;
        let mut settings: Self = toml::from_str(&text)?;
        settings.state = config
            .parent()
            .unwrap_or(Path::new("."))
            .join(&settings.state);
        Ok(settings)
    }

    pub(crate) fn key(&self) -> Result<PrivateKey, Box<dyn Error>> {
        Ok(std::fs::read_to_string(self.key_path())?.trim().parse()?)
    }

    pub(crate) fn ring(&self) -> Result<KeyRing, Box<dyn Error>> {
        Ok(KeyRing::read(&self.ring_path())?)
    }

    pub(crate) fn store(&self) -> Result<Arc<SqliteStore>, Box<dyn Error>> {
        Ok(Arc::new(SqliteStore::open(self.state.join("gate.db"))?))
    }

    pub(crate) fn registrar(&self) -> Result<Registrar, Box<dyn Error>> {
        Ok(Registrar::new(
            self.store()?,
            self.ring()?,
            Arc::new(SystemClock::new()),
        ))
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.state.join("admin.sock")
    }

    fn key_path(&self) -> PathBuf {
        self.state.join("gate.key")
    }

    fn ring_path(&self) -> PathBuf {
        self.state.join("ring.keys")
    }
}

/// Writes a file that only its owner may read, and that was not there before.
fn write_new(path: &Path, text: &str) -> Result<(), Box<dyn Error>> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    let mut file = file.map_err(|error| format!("{}: {error}", path.display()))?;
    file.write_all(text.as_bytes())?;
    Ok(file.sync_all()?)
}
