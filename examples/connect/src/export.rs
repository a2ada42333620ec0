//! `--export`: the session as a file for `wg-quick`, in place of an interface.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use ipnet::IpNet;
use mfagate::client::Profile;
use mfagate::interface::{Activity, InterfaceBackend, InterfaceError, PeerConfig};
use mfagate::key::PublicKey;

/// The priority of the rules that keep the gate outside the tunnel, ahead of those of `wg-quick`.
const PRIORITY: u32 = 10_800;

/// Where the file goes, whose tunnel it is, and where the gate's control channel is.
pub(crate) struct WgQuick {
    path: PathBuf,
    profile: Profile,
    control: Mutex<BTreeSet<IpAddr>>,
    /// Whether the file there is this run's.
    is_written: AtomicBool,
}

impl WgQuick {
    pub(crate) fn new(path: &Path, profile: &Profile) -> Self {
        Self {
            path: path.to_owned(),
            profile: profile.clone(),
            control: Mutex::default(),
            is_written: AtomicBool::new(false),
        }
    }

    /// Has signing in again work while the tunnel is up: a gate that gives this peer another session
    /// takes the old one off, and an answer that went through the tunnel would not come.
    fn rules(&self, networks: &[IpNet]) -> String {
        let control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lines = String::new();
        for address in control.iter() {
            if !networks.iter().any(|network| network.contains(address)) {
                continue;
            }
            let family = if address.is_ipv4() { "-4" } else { "-6" };
            let rule = format!("to {address} lookup main priority {PRIORITY}");
            // One that an earlier file left is as good, and one that is gone is gone.
            _ = writeln!(lines, "PostUp = ip {family} rule add {rule} || true");
            _ = writeln!(lines, "PostDown = ip {family} rule delete {rule} || true");
        }
        lines
    }

    /// Private from its first byte on, and in place as a whole.
    fn write(&self, peer: &PeerConfig) -> io::Result<()> {
        let text = self
            .profile
            .to_wg_quick(peer, &self.rules(&peer.allowed_ips));
        let folder = self.path.parent().filter(|folder| *folder != Path::new(""));
        let mut file = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(&self.path)?;
        self.is_written.store(true, Ordering::SeqCst);
        Ok(())
    }
}

#[async_trait]
impl InterfaceBackend for WgQuick {
    async fn install(&self, peers: Vec<PeerConfig>) -> Result<(), InterfaceError> {
        for peer in &peers {
            self.write(peer).map_err(failed)?;
        }
        Ok(())
    }

    /// A file that was there before stays until there is a new session to put in its place.
    async fn remove(&self, _: &[PublicKey]) -> Result<(), InterfaceError> {
        if !self.is_written.load(Ordering::SeqCst) {
            return Ok(());
        }
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

    async fn keep_outside(&self, addresses: &[IpAddr]) -> Result<(), InterfaceError> {
        let mut control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        control.extend(addresses.iter().map(IpAddr::to_canonical));
        Ok(())
    }
}

fn failed(error: io::Error) -> InterfaceError {
    InterfaceError::Backend(Box::new(error))
}
