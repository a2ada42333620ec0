//! What the kernel puts before each packet of a TUN device with offloads: how it is to be cut apart
//! and what of its checksum is still to be computed (`struct virtio_net_hdr`, Virtio 1.3, section
//! 5.1.6).

/// How long it is.
pub(super) const LENGTH: usize = 10;

/// The checksum is to be finished.
pub(super) const NEEDS_CHECKSUM: u8 = 1;
/// One packet, as it is.
pub(super) const NONE: u8 = 0;
/// TCP over IPv4, to be cut apart.
pub(super) const TCP_V4: u8 = 1;
/// TCP over IPv6, to be cut apart.
pub(super) const TCP_V6: u8 = 4;
/// UDP, to be cut apart.
pub(super) const UDP: u8 = 5;
/// Set in the kind: the first segment alone may have CWR.
const ECN: u8 = 0x80;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) flags: u8,
    pub(super) kind: u8,
    /// How long the headers are. The kernel's word for it is not relied on.
    pub(super) headers: u16,
    /// How much each segment carries.
    pub(super) segment: u16,
    /// Where the sum begins.
    pub(super) sum_from: u16,
    /// Where the checksum is, from there.
    pub(super) sum_at: u16,
}

impl Header {
    /// Reads it; gives it with the packet behind it.
    pub(super) fn split(frame: &mut [u8]) -> Option<(Self, &mut [u8])> {
        let ([flags, kind, words @ ..], packet) = frame.split_first_chunk_mut::<LENGTH>()?;
        let (words, _) = words.as_chunks::<2>();
        let [headers, segment, sum_from, sum_at] = words else {
            return None;
        };
        let header = Self {
            flags: *flags,
            kind: *kind & !ECN,
            headers: u16::from_ne_bytes(*headers),
            segment: u16::from_ne_bytes(*segment),
            sum_from: u16::from_ne_bytes(*sum_from),
            sum_at: u16::from_ne_bytes(*sum_at),
        };
        Some((header, packet))
    }

    pub(super) const fn bytes(self) -> [u8; LENGTH] {
        let [a, b] = self.headers.to_ne_bytes();
        let [c, d] = self.segment.to_ne_bytes();
        let [e, f] = self.sum_from.to_ne_bytes();
        let [g, h] = self.sum_at.to_ne_bytes();
        [self.flags, self.kind, a, b, c, d, e, f, g, h]
    }
}
