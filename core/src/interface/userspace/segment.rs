//! Cuts what the kernel hands over in one piece into packets that fit the tunnel (TSO, USO), and
//! finishes their checksums.

use super::checksum::Sum;
use super::virtio::{self, Header};

/// The longest headers that are cut: those of IPv6, some extensions, and TCP with all its options.
const LONGEST_HEADERS: usize = 256;

const TCP: u8 = 6;
const UDP: u8 = 17;
/// Flags of TCP in byte 13 of its header.
const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

/// Cuts a frame, which is a virtio header and a packet; gives the packets, each as its headers and
/// what it carries. `None` where the frame is none that the kernel may give: nothing of it was
/// given then.
pub(super) fn split(frame: &mut [u8], give: impl FnMut(&[&[u8]])) -> Option<()> {
    let (header, packet) = Header::split(frame)?;
    match header.kind {
        virtio::NONE => whole(header, packet, give),
        virtio::TCP_V4 | virtio::TCP_V6 => Cut::of(header, packet, TCP)?.tcp(give),
        virtio::UDP => Cut::of(header, packet, UDP)?.udp(give),
        _ => None,
    }
}

/// A packet that stays as it is, but for its checksum.
fn whole(header: Header, packet: &mut [u8], mut give: impl FnMut(&[&[u8]])) -> Option<()> {
    if header.flags & virtio::NEEDS_CHECKSUM != 0 {
        // The checksum's place has the sum of the pseudo-header in it.
        let from = usize::from(header.sum_from);
        let sum = Sum::default().add(packet.get(from..)?).checksum();
        put(packet, from + usize::from(header.sum_at), &not_zero(sum))?;
    }
    if packet.is_empty() {
        return None;
    }
    give(&[packet]);
    Some(())
}

/// A packet that is to be cut.
struct Cut<'a> {
    headers: [u8; LONGEST_HEADERS],
    /// Where TCP's or UDP's header begins.
    transport: usize,
    /// Where what it carries begins.
    payload_at: usize,
    payload: &'a [u8],
    segment: usize,
    is_v6: bool,
    protocol: u8,
}

impl<'a> Cut<'a> {
    fn of(header: Header, packet: &'a [u8], protocol: u8) -> Option<Self> {
        let is_v6 = match packet.first()? >> 4 {
            4 => false,
            6 => true,
            _ => return None,
        };
        let transport = usize::from(header.sum_from);
        let least = if is_v6 { 40 } else { 20 };
        if transport < least || (!is_v6 && transport != internet_header(packet)?) {
            return None;
        }
        let length = if protocol == TCP {
            usize::from(packet.get(transport + 12)? >> 4) * 4
        } else {
            8
        };
        if protocol == TCP && length < 20 {
            return None;
        }
        let payload_at = transport + length;
        let (own, payload) = packet.split_at_checked(payload_at)?;
        let segment = usize::from(header.segment);
        if segment == 0 || payload.is_empty() {
            return None;
        }
        let mut headers = [0; LONGEST_HEADERS];
        headers.get_mut(..payload_at)?.copy_from_slice(own);
        Some(Self {
            headers,
            transport,
            payload_at,
            payload,
            segment,
            is_v6,
            protocol,
        })
    }

    /// RFC 9293: each segment has its own sequence number; the flags that end a burst are the
    /// last's, and CWR is the first's (RFC 3168, section 6.1.2).
    fn tcp(mut self, mut give: impl FnMut(&[&[u8]])) -> Option<()> {
        let at = self.transport;
        let flags = *self.headers.get(at + 13)?;
        let mut sequence = u32::from_be_bytes(*self.headers.get(at + 4..)?.first_chunk()?);
        let step = u32::try_from(self.segment).ok()?;
        let count = self.payload.len().div_ceil(self.segment);
        for (n, payload) in self.payload.chunks(self.segment).enumerate() {
            let mut own = flags;
            if n > 0 {
                own &= !CWR;
            }
            if n + 1 < count {
                own &= !(FIN | PSH);
            }
            put(&mut self.headers, at + 4, &sequence.to_be_bytes())?;
            put(&mut self.headers, at + 13, &[own])?;
            sequence = sequence.wrapping_add(step);
            self.finish(16, payload)?;
            give(&[self.headers.get(..self.payload_at)?, payload]);
            self.count_up()?;
        }
        Some(())
    }

    /// RFC 768: each has its own length.
    fn udp(mut self, mut give: impl FnMut(&[&[u8]])) -> Option<()> {
        for payload in self.payload.chunks(self.segment) {
            let length = u16::try_from(8 + payload.len()).ok()?;
            put(&mut self.headers, self.transport + 4, &length.to_be_bytes())?;
            self.finish(6, payload)?;
            give(&[self.headers.get(..self.payload_at)?, payload]);
            self.count_up()?;
        }
        Some(())
    }

    /// Writes the lengths of the IP header, and the checksums.
    fn finish(&mut self, sum_at: usize, payload: &[u8]) -> Option<()> {
        let Self {
            transport,
            payload_at,
            is_v6,
            protocol,
            ..
        } = *self;
        let headers = &mut self.headers;
        let total = payload_at + payload.len();
        let addresses = if is_v6 {
            put(headers, 4, &u16::try_from(total - 40).ok()?.to_be_bytes())?;
            8..40
        } else {
            put(headers, 2, &u16::try_from(total).ok()?.to_be_bytes())?;
            put(headers, 10, &[0, 0])?;
            let sum = Sum::default().add(headers.get(..transport)?).checksum();
            put(headers, 10, &sum)?;
            12..20
        };
        put(headers, transport + sum_at, &[0, 0])?;
        let length = u32::try_from(total - transport).ok()?;
        let sum = Sum::of_pseudo_header(headers.get(addresses)?, protocol, length)
            .add(headers.get(transport..payload_at)?)
            .add(payload);
        put(headers, transport + sum_at, &not_zero(sum.checksum()))
    }

    /// The next packet has the next identification (RFC 791, section 3.2).
    fn count_up(&mut self) -> Option<()> {
        if self.is_v6 {
            return Some(());
        }
        let id = u16::from_be_bytes(*self.headers.get(4..)?.first_chunk()?);
        put(&mut self.headers, 4, &id.wrapping_add(1).to_be_bytes())
    }
}

/// How long a packet's IPv4 header is.
fn internet_header(packet: &[u8]) -> Option<usize> {
    Some(usize::from(packet.first()? & 0x0f) * 4)
}

/// A checksum of zero says that there is none (RFC 768); in one's complement arithmetic, for TCP
/// too, all ones are the same number.
fn not_zero(sum: [u8; 2]) -> [u8; 2] {
    if sum == [0, 0] { [0xff, 0xff] } else { sum }
}

fn put(into: &mut [u8], at: usize, bytes: &[u8]) -> Option<()> {
    into.get_mut(at..at + bytes.len())?.copy_from_slice(bytes);
    Some(())
}
