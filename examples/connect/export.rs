//! `--export`: the session as a file for `wg-quick`, in place of an interface.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use ipnet::IpNet;
use mfagate::interface::{Activity, InterfaceBackend, InterfaceError, PeerConfig};
use mfagate::key::PublicKey;
use mfagate::runtime::Profile;
use zeroize::Zeroizing;

/// Where the file goes, and its first half.
pub(crate) struct WgQuick {
    path: PathBuf,
    interface: Zeroizing<String>,
}

impl WgQuick {
    pub(crate) fn new(path: &Path, profile: &Profile) -> Self {
        let mut interface = Zeroizing::new(String::with_capacity(1024));
        let key = profile.private_key.expose_base64();
        // Writing to a string does not fail.
        _ = writeln!(interface, "[Interface]\nPrivateKey = {}", *key);
        _ = writeln!(interface, "Address = {}", list(&profile.addresses));
        if !profile.dns.is_empty() {
            _ = writeln!(interface, "DNS = {}", list(&profile.dns));
        }
        if let Some(mtu) = profile.mtu {
            _ = writeln!(interface, "MTU = {mtu}");
        }
        Self {
            path: path.to_owned(),
            interface,
        }
    }

    /// Private from its first byte on, and in place as a whole.
    fn write(&self, peer: &PeerConfig) -> io::Result<()> {
        let mut text = Zeroizing::new(String::with_capacity(2048));
        _ = writeln!(
            text,
            "{}\n[Peer]\nPublicKey = {}",
            *self.interface, peer.key
        );
        if let Some(psk) = &peer.psk {
            let psk = Zeroizing::new(data_encoding::BASE64.encode(psk.expose_secret()));
            _ = writeln!(text, "PresharedKey = {}", *psk);
        }
        _ = writeln!(text, "AllowedIPs = {}", list::<IpNet>(&peer.allowed_ips));
        if let Some(endpoint) = peer.endpoint {
            _ = writeln!(text, "Endpoint = {endpoint}");
        }
        if let Some(keepalive) = peer.keepalive {
            _ = writeln!(text, "PersistentKeepalive = {}", keepalive.as_secs());
        }
        let folder = self.path.parent().filter(|folder| *folder != Path::new(""));
        let mut file = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(&self.path)?;
        Ok(())
    }
}

fn list<T: ToString>(all: &[T]) -> String {
    let all: Vec<String> = all.iter().map(ToString::to_string).collect();
    all.join(", ")
}

#[async_trait]
impl InterfaceBackend for WgQuick {
    async fn install(&self, peers: Vec<PeerConfig>) -> Result<(), InterfaceError> {
        for peer in &peers {
            self.write(peer).map_err(failed)?;
        }
        Ok(())
    }

    async fn remove(&self, _: &[PublicKey]) -> Result<(), InterfaceError> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
            _ => Ok(()),
        }
    }

    async fn list(&self) -> Result<Vec<PeerConfig>, InterfaceError> {
        Ok(Vec::new())
    }

    async fn activity(&self, _: &[PublicKey]) -> Result<Vec<Activity>, InterfaceError> {
        Ok(Vec::new())
    }

    async fn fence(&self) -> Result<(), InterfaceError> {
        self.remove(&[]).await
    }
}

fn failed(error: io::Error) -> InterfaceError {
    InterfaceError::Backend(Box::new(error))
}
