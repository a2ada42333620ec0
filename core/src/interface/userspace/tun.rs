//! The TUN device, as the inner side of the tunnels.

use std::io;
use std::sync::Arc;

use ipnet::IpNet;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tun_rs::{AsyncDevice, DeviceBuilder};

use super::UserspaceError;
use crate::interface::wireguard::Inside;

/// Packets that wait for the tunnels; meanwhile more wait in the device, which drops what is too
/// much for it, as any link does.
const QUEUE: usize = 1024;

pub(super) struct Tun {
    device: AsyncDevice,
    mtu: usize,
}

impl Tun {
    /// Makes a device that goes when it is dropped. It is down, and has no address.
    pub(super) fn create(name: &str, mtu: u16) -> Result<Self, UserspaceError> {
        let device = DeviceBuilder::new()
            .name(name)
            .enable(false)
            .with(|device| {
                device.packet_information(false);
            })
            .build_async()
            .map_err(|source| refused(name, source))?;
        Ok(Self {
            device,
            mtu: mtu.into(),
        })
    }

    /// Reads what the system sends, in a task of `tasks`, until nobody takes it any more.
    pub(super) fn read_in(self: Arc<Self>, tasks: &mut JoinSet<()>) -> mpsc::Receiver<Vec<u8>> {
        let (packets, outgoing) = mpsc::channel(QUEUE);
        tasks.spawn(async move {
            let mut buffer = vec![0; self.mtu];
            loop {
                match self.device.recv(&mut buffer).await {
                    Ok(len) => {
                        let packet = buffer.get(..len).unwrap_or_default().to_vec();
                        if packets.send(packet).await.is_err() {
                            return;
                        }
                    }
                    Err(error) => {
                        // A device that is down says so until it is up.
                        tracing::debug!(%error, "the TUN device was not read");
                        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    }
                }
            }
        });
        outgoing
    }
}

fn refused(name: &str, source: io::Error) -> UserspaceError {
    let kind = source.kind();
    if kind == io::ErrorKind::NotFound {
        UserspaceError::NoTun
    } else if kind == io::ErrorKind::PermissionDenied {
        UserspaceError::Privilege
    } else {
        let name = name.to_owned();
        UserspaceError::Tun { name, source }
    }
}

impl Inside for Tun {
    fn deliver(&self, packet: &[u8]) {
        if let Err(error) = self.device.try_send(packet) {
            tracing::trace!(%error, "the TUN device did not take a packet");
        }
    }

    /// Nothing is under way here: what was delivered is the system's.
    fn break_off(&self, _: &[IpNet]) {}
}
