//! Packets that go through the tunnels many at a time: what comes from inside to be encrypted, and
//! what was decrypted for it.

use std::vec::Drain;

use gotatun::packet::{Packet, PacketBufPool};
use tokio::sync::mpsc;

use crate::key::PublicKey;

/// How many packets are worked on with the tunnels locked once: enough for what a TUN device gives
/// in four reads, and few enough that a removal waits less than a millisecond for them.
pub(super) const MOST: usize = 176;
/// Room in a buffer that is used again: a packet of an MTU of 1500, and what WireGuard adds. A
/// longer packet gets a buffer of its own.
const BUFFER: usize = 2048;

/// Where the packets to be encrypted come from.
pub(in crate::interface) trait Outgoing: Send + 'static {
    /// Waits for packets, and adds those that are there to the batch, which is empty. It never
    /// waits for more. `false` when there will be none any more. Cancel safe.
    fn fill(&mut self, batch: &mut Batch) -> impl Future<Output = bool> + Send;
}

/// Buffers that are used again and again.
pub(super) type Pool = PacketBufPool<BUFFER>;

/// A packet with these bytes, which are in parts.
pub(super) fn pooled(pool: &Pool, parts: &[&[u8]]) -> Packet {
    let mut packet = pool.get();
    let buffer = packet.buf_mut();
    buffer.clear();
    for part in parts {
        buffer.extend_from_slice(part);
    }
    packet
}

/// Packets that are to be encrypted, in plain text. Whose they are is looked up with the tunnels
/// locked, after they were read: those of a peer that is removed meanwhile go nowhere.
pub(in crate::interface) struct Batch {
    pool: Pool,
    packets: Vec<Packet>,
}

impl Batch {
    pub(super) fn new() -> Self {
        Self {
            pool: Pool::new(MOST),
            packets: Vec::with_capacity(MOST),
        }
    }

    /// Adds a packet, which is in parts.
    pub(in crate::interface) fn push(&mut self, parts: &[&[u8]]) {
        self.packets.push(pooled(&self.pool, parts));
    }

    /// Whether enough is there, and no more should be read.
    #[cfg(all(feature = "userspace", target_os = "linux"))]
    pub(in crate::interface) fn is_full(&self) -> bool {
        self.packets.len() >= MOST
    }

    /// The first packets, as many as are worked on at once.
    pub(super) fn share(&mut self) -> Drain<'_, Packet> {
        self.packets.drain(..self.packets.len().min(MOST))
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }
}

impl Outgoing for mpsc::Receiver<Vec<u8>> {
    async fn fill(&mut self, batch: &mut Batch) -> bool {
        let Some(packet) = self.recv().await else {
            return false;
        };
        batch.push(&[&packet]);
        while batch.packets.len() < MOST
            && let Ok(packet) = self.try_recv()
        {
            batch.push(&[&packet]);
        }
        true
    }
}

/// Packets that were decrypted, each from an address of the peer that sent it, with its peer.
#[derive(Default)]
pub(in crate::interface) struct Opened(Vec<(PublicKey, Packet)>);

impl Opened {
    pub(super) fn push(&mut self, peer: PublicKey, packet: Packet) {
        self.0.push((peer, packet));
    }

    /// Drops the packets of peers that `may_pass` does not name. It is asked once for packets of
    /// one peer in a row.
    pub(super) fn keep(&mut self, mut may_pass: impl FnMut(&PublicKey) -> bool) {
        let mut last = None;
        self.0.retain(|(peer, _)| match last {
            Some((known, may_pass)) if known == *peer => may_pass,
            _ => {
                let may = may_pass(peer);
                last = Some((*peer, may));
                may
            }
        });
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The packets in the order in which they came.
    pub(in crate::interface) fn packets(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(|(_, packet)| packet.as_ref())
    }
}
