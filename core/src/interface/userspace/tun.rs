//! The TUN device, as the inner side of the tunnels. The kernel hands over and takes many packets in
//! one piece where the device has offloads (TSO); elsewhere it is a call for each.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ipnet::IpNet;
use tun_rs::{AsyncDevice, DeviceBuilder};

use super::{UserspaceFault, coalesce, segment, virtio};
use crate::interface::wireguard::{Batch, Inside, Opened, Outgoing};
use crate::log;

/// Room for what one read gives: the longest packet there is, and its virtio header.
const LONGEST: usize = virtio::LENGTH + 65_535;
/// How many reads make a batch.
const READS: usize = 4;
/// How long to wait before a device that could not be read is read again.
const PAUSE: Duration = Duration::from_millis(50);

pub(super) struct Tun {
    device: AsyncDevice,
    has_offloads: bool,
    /// Whether the device was deleted.
    is_gone: AtomicBool,
}

impl Tun {
    /// Makes a device that goes when it is dropped. It is down, and has no address. With offloads,
    /// if they are wanted and the kernel has them.
    pub(super) fn create(name: &str, wants_offloads: bool) -> Result<Self, UserspaceFault> {
        let (device, has_offloads) = if wants_offloads {
            with_what_there_is(name)
        } else {
            log::later(|| tracing::debug!("the TUN device is made without offloads, as asked"));
            open(name, false).map(|device| (device, false))
        }
        .map_err(|source| refused(name, source))?;
        Ok(Self {
            device,
            has_offloads,
            is_gone: AtomicBool::new(false),
        })
    }

    /// Whether the device has offloads.
    pub(super) const fn has_offloads(&self) -> bool {
        self.has_offloads
    }

    /// Whether the device is gone for good.
    pub(super) fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Relaxed)
    }

    /// What the system sends.
    pub(super) fn outgoing(self: Arc<Self>) -> FromSystem {
        FromSystem {
            tun: self,
            buffer: vec![0; LONGEST], // the system gives a page once it is written to
        }
    }

    fn take(&self, frame: &mut [u8], batch: &mut Batch) {
        if !self.has_offloads {
            return batch.push(&[frame]);
        }
        if segment::split(frame, |parts| batch.push(parts)).is_none() {
            log::later(|| tracing::debug!("the TUN device gave what is no packet"));
        }
    }
}

/// Reads the device.
pub(super) struct FromSystem {
    tun: Arc<Tun>,
    buffer: Vec<u8>,
}

impl Outgoing for FromSystem {
    async fn fill(&mut self, batch: &mut Batch) -> bool {
        let Self { tun, buffer } = self;
        loop {
            match tun.device.recv(buffer).await {
                Ok(len) => {
                    tun.take(buffer.get_mut(..len).unwrap_or_default(), batch);
                    break;
                }
                Err(error) if error.raw_os_error() == Some(libc::EBADFD) => {
                    log::later(|| tracing::error!("the TUN device was deleted"));
                    tun.is_gone.store(true, Ordering::Relaxed);
                    return false;
                }
                Err(error) => {
                    // A device that is down says so until it is up.
                    log::later(move || tracing::debug!(%error, "the TUN device was not read"));
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        // Without offloads a read is one packet.
        let reads = if tun.has_offloads { READS } else { usize::MAX };
        for _ in 1..reads {
            if batch.is_full() {
                break;
            }
            // A failure is seen by the next call, which waits.
            let Ok(len) = tun.device.try_recv(buffer) else {
                break;
            };
            tun.take(buffer.get_mut(..len).unwrap_or_default(), batch);
        }
        true
    }
}

fn with_what_there_is(name: &str) -> io::Result<(AsyncDevice, bool)> {
    match open(name, true) {
        Ok(device) => {
            log::later(|| tracing::debug!("the TUN device has segmentation offloads"));
            Ok((device, true))
        }
        Err(error) if is_final(&error) => Err(error),
        Err(error) => {
            log::later(move || {
                tracing::info!(%error, "the TUN device has no offloads here: a call per packet");
            });
            Ok((open(name, false)?, false))
        }
    }
}

fn open(name: &str, has_offloads: bool) -> io::Result<AsyncDevice> {
    DeviceBuilder::new()
        .name(name)
        .enable(false)
        .with(|device| {
            device.packet_information(false);
            device.offload(has_offloads);
        })
        .build_async()
}

/// Whether there is no device, with offloads or without.
fn is_final(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
    )
}

fn refused(name: &str, source: io::Error) -> UserspaceFault {
    let kind = source.kind();
    if kind == io::ErrorKind::NotFound {
        UserspaceFault::NoTun
    } else if kind == io::ErrorKind::PermissionDenied {
        UserspaceFault::Privilege
    } else {
        let name = name.to_owned();
        UserspaceFault::Tun { name, source }
    }
}

impl Inside for Tun {
    fn deliver(&self, packets: &Opened) {
        let mut outcome = Ok(());
        if self.has_offloads {
            outcome = coalesce::write(packets.packets(), |parts| {
                self.device.try_send_vectored(parts)
            });
        } else {
            for packet in packets.packets() {
                if let Err(error) = self.device.try_send(packet) {
                    outcome = Err(error);
                }
            }
        }
        if let Err(error) = outcome {
            log::later(move || tracing::trace!(%error, "the TUN device did not take a packet"));
        }
    }

    /// Nothing is under way here: what was delivered is the system's.
    fn break_off(&self, _: &[IpNet]) {}
}
