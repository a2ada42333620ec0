//! The interface by the crate's blocking calls, of which nothing is believed that can be read back.

use std::collections::{BTreeMap, BTreeSet};

use defguard_wireguard_rs::error::WireguardInterfaceError;
use defguard_wireguard_rs::host::Host;
use defguard_wireguard_rs::{InterfaceConfiguration, WGApi, WireguardInterfaceApi};

use super::peer::{self, address, foreign};
use super::{PortableBuilder, PortableFault};
use crate::interface::spare::Spare;
use crate::interface::{Activity, PeerConfig};
use crate::key::{PrivateKey, PublicKey};
use crate::log;

#[cfg(target_os = "macos")]
type System = defguard_wireguard_rs::Userspace;
#[cfg(not(target_os = "macos"))]
type System = defguard_wireguard_rs::Kernel;

/// Whether an installed peer can be changed without harm.
const RENEWS_IN_PLACE: bool = cfg!(not(target_os = "macos"));

pub(super) struct Device {
    /// `None` once it is closed.
    system: Option<WGApi<System>>,
    key: PublicKey,
    /// The crate opens a descriptor for each call.
    spare: Spare,
}

impl Device {
    /// Makes the interface. Dropping what is made so far, as every `?` does, removes it.
    pub(super) fn create(builder: &PortableBuilder) -> Result<Self, PortableFault> {
        check_removable()?;
        let mut system =
            WGApi::<System>::new(&builder.name).map_err(|error| failed("reach", error))?;
        // The crate would open one that is there, or say that it made it.
        if system.read_interface_data().is_ok() {
            return Err(PortableFault::NameInUse {
                name: builder.name.clone(),
            });
        }
        system
            .create_interface()
            .map_err(|error| failed("make", error))?;
        let device = Self {
            system: Some(system),
            key: builder.key.public_key(),
            spare: Spare::hold(),
        };
        // Only here, where there is no peer yet: this call replaces all of them.
        device
            .system()?
            .configure_interface(&configuration(builder))
            .map_err(|error| failed("configure", error))?;
        device.read()?;
        Ok(device)
    }

    pub(super) fn listen_port(&self) -> Result<u16, PortableFault> {
        Ok(self.read()?.listen_port)
    }

    pub(super) fn install(&self, peers: &[PeerConfig]) -> Result<(), PortableFault> {
        for peer in peers {
            self.replace(peer)?;
        }
        self.check(peers)
    }

    pub(super) fn renew(&self, peers: &[PeerConfig]) -> Result<(), PortableFault> {
        let before = self.read_peers()?;
        for peer in peers {
            if RENEWS_IN_PLACE {
                self.put(peer)?;
                continue;
            }
            // With the endpoint that it had, the interface begins the new handshake by itself.
            let mut peer = peer.clone();
            let known = before.get(&peer.key);
            let endpoint = known.and_then(|known| known.1.endpoint);
            peer.endpoint = peer.endpoint.or(endpoint);
            peer.keepalive = peer.keepalive.or(Some(peer::KEEPALIVE));
            self.replace(&peer)?;
        }
        self.check(peers)
    }

    /// Removes these peers, also when the process has used up its file limit.
    pub(super) fn remove(&mut self, keys: &[PublicKey]) -> Result<(), PortableFault> {
        let mut spare = std::mem::take(&mut self.spare);
        let removed = spare.call(|| self.remove_all(keys));
        self.spare = spare;
        removed
    }

    fn remove_all(&self, keys: &[PublicKey]) -> Result<(), PortableFault> {
        for key in keys {
            self.remove_one(key)?;
        }
        let left = self.read_peers()?;
        if keys.iter().any(|key| left.contains_key(key)) {
            return Err(PortableFault::NotRemoved);
        }
        Ok(())
    }

    pub(super) fn list(&self) -> Result<Vec<PeerConfig>, PortableFault> {
        Ok(self
            .read_peers()?
            .into_values()
            .map(|peer| peer.0)
            .collect())
    }

    pub(super) fn activity(
        &self,
        keys: &BTreeSet<PublicKey>,
    ) -> Result<Vec<Activity>, PortableFault> {
        let peers = self.read_peers()?.into_values().map(|peer| peer.1);
        Ok(peers.filter(|seen| keys.contains(&seen.key)).collect())
    }

    /// Removes all peers, and the interface even where that fails.
    pub(super) fn fence(&mut self) -> Result<(), PortableFault> {
        if self.system.is_none() {
            return Ok(());
        }
        let mut spare = std::mem::take(&mut self.spare);
        let emptied = spare.call(|| {
            let peers = self.read_peers()?;
            self.remove_all(&peers.into_keys().collect::<Vec<_>>())
        });
        let closed = spare.call(|| self.close());
        self.spare = spare;
        // Either is enough: without peers, or gone, it passes nothing.
        closed.or(emptied)?;
        self.system = None;
        Ok(())
    }

    /// Removes the interface. One that is gone is removed.
    pub(super) fn close(&mut self) -> Result<(), PortableFault> {
        let Some(system) = &mut self.system else {
            return Ok(());
        };
        let removed = system.remove_interface();
        if removed.is_err() && system.read_interface_data().is_ok() {
            return removed.map_err(|error| failed("remove", error));
        }
        self.system = None;
        Ok(())
    }

    fn system(&self) -> Result<&WGApi<System>, PortableFault> {
        self.system.as_ref().ok_or(PortableFault::Closed)
    }

    /// Removes, then adds: nothing is inherited, and boringtun bears no other way.
    fn replace(&self, peer: &PeerConfig) -> Result<(), PortableFault> {
        self.remove_one(&peer.key)?;
        self.put(peer)
    }

    fn put(&self, peer: &PeerConfig) -> Result<(), PortableFault> {
        let put = self.system()?.configure_peer(&foreign(peer));
        put.map_err(|error| failed("add a peer to", error))
    }

    fn remove_one(&self, key: &PublicKey) -> Result<(), PortableFault> {
        let removed = self.system()?.remove_peer(&peer::foreign_key(key));
        removed.map_err(|error| failed("remove a peer from", error))
    }

    /// Makes sure that each of these is there with its preshared key and its networks.
    fn check(&self, peers: &[PeerConfig]) -> Result<(), PortableFault> {
        let there = self.read_peers()?;
        let is_there = |wanted: &PeerConfig| {
            let found = there.get(&wanted.key);
            found.is_some_and(|(found, _)| peer::is_as_told(found, wanted))
        };
        // The last of a key in a batch is the one that counts.
        let last: BTreeMap<_, _> = peers.iter().map(|peer| (peer.key, peer)).collect();
        if last.into_values().all(is_there) {
            Ok(())
        } else {
            Err(PortableFault::NotInstalled)
        }
    }

    fn read_peers(&self) -> Result<BTreeMap<PublicKey, (PeerConfig, Activity)>, PortableFault> {
        let host = self.read()?;
        let peers = host.peers.into_values();
        Ok(peers.map(|peer| peer::own(&peer)).collect())
    }

    /// Reads the interface. A dead one reads as one without peers, and without a key of its own.
    fn read(&self) -> Result<Host, PortableFault> {
        let host = self.system()?.read_interface_data();
        let host = host.map_err(|error| failed("read", error))?;
        let secret = host.private_key.as_ref();
        // By its public half: some keep a private key clamped (RFC 7748, section 5).
        let key = secret.map(|key| PrivateKey::from_bytes(key.as_array()).public_key());
        if key != Some(self.key) {
            return Err(PortableFault::Lost);
        }
        Ok(host)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            log::later(move || tracing::warn!(%error, "a WireGuard interface was not removed"));
        }
    }
}

/// The crate can't remove an interface where it finds no one to tell of its names: better known
/// before there is one.
#[cfg(not(target_os = "macos"))]
fn check_removable() -> Result<(), PortableFault> {
    let found = defguard_wireguard_rs::dns::detect_dns_backend();
    found.map(drop).map_err(|_| PortableFault::NoResolver)
}

#[cfg(target_os = "macos")]
const fn check_removable() -> Result<(), PortableFault> {
    Ok(())
}

fn configuration(builder: &PortableBuilder) -> InterfaceConfiguration {
    InterfaceConfiguration {
        name: builder.name.clone(),
        prvkey: builder.key.expose_base64().to_string(),
        addresses: builder.addresses.iter().map(address).collect(),
        port: builder.listen_port,
        peers: Vec::new(),
        mtu: builder.mtu,
        fwmark: None,
    }
}

fn failed(doing: &'static str, error: WireguardInterfaceError) -> PortableFault {
    PortableFault::System {
        doing,
        source: Box::new(error),
    }
}
