//! Puts TCP packets that follow one another together, so that the kernel takes them in by one
//! call (as GRO does for a network card). What is put together is from one batch: nothing is held
//! back for packets that are still to come.

use std::array;
use std::io::{self, IoSlice};

use super::checksum::Sum;
use super::virtio::{self, Header};

/// How many connections are put together at a time.
const FLOWS: usize = 16;
/// How many packets become one.
const MOST: usize = 64;
/// How long an IP packet can be.
const LONGEST: usize = 65_535;
/// The longest headers of a packet that is put together: IPv6, and TCP with all its options.
const LONGEST_HEADERS: usize = 40 + 60;

const TCP: u8 = 6;
/// Flags of TCP in byte 13 of its header.
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;

/// Writes packets, each with a virtio header before it. The order of a connection's packets stays.
/// Gives the last failure: what one packet has wrong must not hold up the others.
pub(super) fn write<'a>(
    packets: impl Iterator<Item = &'a [u8]>,
    mut out: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
) -> io::Result<()> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    let mut outcome = Ok(());
    let mut note = |written: io::Result<()>| {
        if written.is_err() {
            outcome = written;
        }
    };
    for packet in packets {
        let Some(segment) = Segment::of(packet) else {
            // What can't be told apart may belong to any of the connections.
            if may_be_tcp(packet) {
                for group in groups.drain(..) {
                    note(group.write(&mut out));
                }
            }
            note(write_alone(packet, &mut out));
            continue;
        };
        let place = groups
            .iter()
            .position(|group| group.first().is_same_flow(&segment));
        if let Some(place) = place {
            if groups
                .get_mut(place)
                .is_some_and(|group| group.add(&segment))
            {
                continue;
            }
            note(groups.remove(place).write(&mut out));
        }
        if !segment.can_be_joined() {
            note(write_alone(packet, &mut out));
            continue;
        }
        if groups.len() == FLOWS {
            note(groups.remove(0).write(&mut out));
        }
        groups.push(Group::of(segment));
    }
    for group in groups {
        note(group.write(&mut out));
    }
    outcome
}

fn write_alone(
    packet: &[u8],
    out: &mut impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
) -> io::Result<()> {
    let header = Header::default().bytes();
    out(&[IoSlice::new(&header), IoSlice::new(packet)]).map(drop)
}

/// Whether a packet may carry TCP. Behind headers that are not known here, it may.
fn may_be_tcp(packet: &[u8]) -> bool {
    match packet.first().map(|first| first >> 4) {
        Some(4) => packet.get(9) == Some(&TCP),
        Some(6) => !matches!(packet.get(6), Some(17 | 58)), // UDP, ICMPv6
        _ => false,
    }
}

/// A whole TCP packet over IP without options or extensions.
#[derive(Clone, Copy)]
struct Segment<'a> {
    packet: &'a [u8],
    is_v6: bool,
    /// Where TCP's header begins.
    tcp: usize,
    /// Where what it carries begins.
    payload: usize,
}

impl<'a> Segment<'a> {
    fn of(packet: &'a [u8]) -> Option<Self> {
        let first = *packet.first()?;
        let (is_v6, tcp, length, protocol) = match first {
            0x45 => {
                let fragment = u16::from_be_bytes(*packet.get(6..)?.first_chunk()?);
                if fragment & 0x3fff != 0 {
                    return None; // more are to come, or it is not the first
                }
                let length = u16::from_be_bytes(*packet.get(2..)?.first_chunk()?);
                (false, 20, usize::from(length), *packet.get(9)?)
            }
            0x60..=0x6f => {
                let length = u16::from_be_bytes(*packet.get(4..)?.first_chunk()?);
                (true, 40, usize::from(length) + 40, *packet.get(6)?)
            }
            _ => return None,
        };
        let header = usize::from(packet.get(tcp + 12)? >> 4) * 4;
        let payload = tcp + header;
        let is_whole =
            protocol == TCP && header >= 20 && length == packet.len() && payload <= length;
        is_whole.then_some(Self {
            packet,
            is_v6,
            tcp,
            payload,
        })
    }

    fn addresses(&self) -> &'a [u8] {
        let at = if self.is_v6 { 8..40 } else { 12..20 };
        self.packet.get(at).unwrap_or_default()
    }

    /// Some bytes of TCP's header.
    fn tcp(&self, from: usize, to: usize) -> &'a [u8] {
        let at = self.tcp + from..self.tcp + to;
        self.packet.get(at).unwrap_or_default()
    }

    fn sequence(&self) -> u32 {
        let bytes = self.tcp(4, 8).first_chunk();
        bytes.map_or(0, |bytes| u32::from_be_bytes(*bytes))
    }

    fn flags(&self) -> u8 {
        self.tcp(13, 14).first().copied().unwrap_or_default()
    }

    fn payload(&self) -> &'a [u8] {
        self.packet.get(self.payload..).unwrap_or_default()
    }

    fn is_same_flow(&self, other: &Self) -> bool {
        self.is_v6 == other.is_v6
            && self.addresses() == other.addresses()
            && self.tcp(0, 4) == other.tcp(0, 4)
    }

    /// Plain data, which may begin or go on a longer packet.
    fn can_be_joined(&self) -> bool {
        self.flags() | PSH == ACK | PSH && !self.payload().is_empty()
    }

    /// Whether all but lengths, identification, checksums, sequence number and PSH are the same.
    fn is_alike(&self, other: &Self) -> bool {
        let ip = |of: &Self| {
            // Version, header length, traffic class and flow label; flags or next header; hops.
            let same = if of.is_v6 {
                (0..4, 6..8)
            } else {
                (0..2, 6..10)
            };
            (of.packet.get(same.0), of.packet.get(same.1))
        };
        let options = |of: &Self| of.tcp(18, of.payload - of.tcp);
        self.payload == other.payload
            && ip(self) == ip(other)
            && self.tcp(8, 13) == other.tcp(8, 13)
            && self.tcp(14, 16) == other.tcp(14, 16)
            && options(self) == options(other)
    }

    /// Whether both checksums are right. The kernel believes what is put together: a packet that was
    /// spoilt must not become a good one.
    fn is_sound(&self) -> bool {
        let ip = self.packet.get(..self.tcp).unwrap_or_default();
        let of_tcp = self.packet.get(self.tcp..).unwrap_or_default();
        let Ok(length) = u32::try_from(of_tcp.len()) else {
            return false;
        };
        let sum = Sum::of_pseudo_header(self.addresses(), TCP, length).add(of_tcp);
        sum.is_right() && (self.is_v6 || Sum::default().add(ip).is_right())
    }
}

/// Packets of one connection that become one.
struct Group<'a> {
    segments: Vec<Segment<'a>>,
    /// What the next one's sequence number has to be.
    next: u32,
    /// How long they are together, with one's headers.
    length: usize,
    /// Nothing more may be added.
    is_ended: bool,
}

impl<'a> Group<'a> {
    fn of(segment: Segment<'a>) -> Self {
        Self {
            next: after(&segment),
            length: segment.packet.len(),
            is_ended: segment.flags() & PSH != 0,
            segments: vec![segment],
        }
    }

    fn first(&self) -> &Segment<'a> {
        &self.segments[0] // a group begins with one
    }

    /// Adds a packet, if it goes on from the last.
    fn add(&mut self, segment: &Segment<'a>) -> bool {
        let first = *self.first();
        let (len, size) = (segment.payload().len(), first.payload().len());
        let fits = !self.is_ended
            && segment.can_be_joined()
            && segment.sequence() == self.next
            && len <= size
            && self.length + len <= LONGEST
            && self.segments.len() < MOST
            && segment.is_alike(&first);
        if !fits || (self.segments.len() == 1 && !first.is_sound()) || !segment.is_sound() {
            return false;
        }
        self.next = after(segment);
        self.length += len;
        self.is_ended = len < size || segment.flags() & PSH != 0;
        self.segments.push(*segment);
        true
    }

    fn write(self, out: &mut impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>) -> io::Result<()> {
        let joined = match self.segments.len() {
            1 => None,
            _ => self.headers(),
        };
        if let Some((headers, len)) = joined {
            let headers = headers.get(..len).unwrap_or_default();
            let mut parts: [IoSlice<'_>; 1 + MOST] = array::from_fn(|_| IoSlice::new(&[]));
            let payloads = self.segments.iter().map(Segment::payload);
            for (part, bytes) in parts.iter_mut().zip([headers].into_iter().chain(payloads)) {
                *part = IoSlice::new(bytes);
            }
            let parts = parts.get(..=self.segments.len()).unwrap_or_default();
            if out(parts).is_ok() {
                return Ok(());
            }
        }
        // Each by itself, also where the kernel does not take what was put together.
        let mut outcome = Ok(());
        for segment in &self.segments {
            let written = write_alone(segment.packet, out);
            if written.is_err() {
                outcome = written;
            }
        }
        outcome
    }

    /// The headers of all together, behind a virtio header, and how long both are.
    fn headers(&self) -> Option<([u8; virtio::LENGTH + LONGEST_HEADERS], usize)> {
        let first = self.first();
        let header = Header {
            flags: virtio::NEEDS_CHECKSUM,
            kind: if first.is_v6 {
                virtio::TCP_V6
            } else {
                virtio::TCP_V4
            },
            headers: u16::try_from(first.payload).ok()?,
            segment: u16::try_from(first.payload().len()).ok()?,
            sum_from: u16::try_from(first.tcp).ok()?,
            sum_at: 16,
        };
        let mut bytes = [0; virtio::LENGTH + LONGEST_HEADERS];
        let (before, behind) = bytes.split_at_mut(virtio::LENGTH);
        before.copy_from_slice(&header.bytes());
        let headers = behind.get_mut(..first.payload)?;
        headers.copy_from_slice(first.packet.get(..first.payload)?);
        let mut put = |at: usize, bytes: [u8; 2]| {
            let place = headers.get_mut(at..at + 2)?;
            place.copy_from_slice(&bytes);
            Some(())
        };
        let length = u32::try_from(self.length - first.tcp).ok()?;
        let pseudo = Sum::of_pseudo_header(first.addresses(), TCP, length);
        put(first.tcp + 16, pseudo.partial())?;
        if first.is_v6 {
            put(4, u16::try_from(self.length - 40).ok()?.to_be_bytes())?;
        } else {
            put(2, u16::try_from(self.length).ok()?.to_be_bytes())?;
            put(10, [0, 0])?;
            let sum = Sum::default().add(headers.get(..first.tcp)?).checksum();
            headers.get_mut(10..12)?.copy_from_slice(&sum);
        }
        if self.segments.last()?.flags() & PSH != 0 {
            *headers.get_mut(first.tcp + 13)? |= PSH;
        }
        Some((bytes, virtio::LENGTH + first.payload))
    }
}

fn after(segment: &Segment<'_>) -> u32 {
    let len = u32::try_from(segment.payload().len()).unwrap_or(0);
    segment.sequence().wrapping_add(len)
}
