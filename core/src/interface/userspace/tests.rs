//! What the kernel gives in one piece, cut apart and put together again.

use std::io::{self, IoSlice};

use proptest::prelude::*;

use super::checksum::Sum;
use super::virtio::{self, Header};
use super::{coalesce, segment};

const PSH: u8 = 0x08;
const ACK: u8 = 0x10;

/// A TCP packet, or what becomes many.
#[derive(Debug, Clone)]
struct Tcp {
    is_v6: bool,
    port: u16,
    sequence: u32,
    flags: u8,
    options: Vec<u8>,
    payload: Vec<u8>,
}

impl Tcp {
    fn data(is_v6: bool, sequence: u32, len: usize) -> Self {
        Self {
            is_v6,
            port: 5000,
            sequence,
            flags: ACK,
            options: vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2], // a timestamp
            payload: (0..len).map(|n| n.to_le_bytes()[0]).collect(),
        }
    }

    fn ip_len(&self) -> usize {
        if self.is_v6 { 40 } else { 20 }
    }

    fn headers(&self) -> usize {
        self.ip_len() + 20 + self.options.len()
    }

    /// The packet with right checksums.
    fn bytes(&self) -> Vec<u8> {
        let tcp_len = 20 + self.options.len() + self.payload.len();
        let mut packet = Vec::new();
        if self.is_v6 {
            packet.extend([0x60, 0, 0, 7]);
            packet.extend(u16::try_from(tcp_len).unwrap().to_be_bytes());
            packet.extend([6, 64]);
            packet.extend([0xfd; 16]);
            packet.extend([0xfe; 16]);
        } else {
            packet.extend([0x45, 0]);
            packet.extend(u16::try_from(20 + tcp_len).unwrap().to_be_bytes());
            packet.extend([0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
            let sum = Sum::default().add(&packet).checksum();
            packet[10..12].copy_from_slice(&sum);
        }
        let addresses = if self.is_v6 { 8..40 } else { 12..20 };
        let addresses = packet[addresses].to_vec();
        let at = packet.len();
        packet.extend(self.port.to_be_bytes());
        packet.extend(80_u16.to_be_bytes());
        packet.extend(self.sequence.to_be_bytes());
        packet.extend([0, 0, 0, 9]);
        let offset = u8::try_from((20 + self.options.len()) / 4).unwrap() << 4;
        packet.extend([offset, self.flags, 1, 0, 0, 0, 0, 0]);
        packet.extend(&self.options);
        packet.extend(&self.payload);
        let length = u32::try_from(tcp_len).unwrap();
        let sum = Sum::of_pseudo_header(&addresses, 6, length).add(&packet[at..]);
        packet[at + 16..at + 18].copy_from_slice(&sum.checksum());
        packet
    }

    /// As the kernel hands it over, to be cut into segments of that length.
    fn frame(&self, segment: usize) -> Vec<u8> {
        let header = Header {
            flags: virtio::NEEDS_CHECKSUM,
            kind: if self.is_v6 {
                virtio::TCP_V6
            } else {
                virtio::TCP_V4
            },
            headers: 0, // not to be relied on
            segment: u16::try_from(segment).unwrap(),
            sum_from: u16::try_from(self.ip_len()).unwrap(),
            sum_at: 16,
        };
        [&header.bytes()[..], &self.bytes()].concat()
    }
}

fn split(frame: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut packets = Vec::new();
    segment::split(&mut frame.to_vec(), |parts| packets.push(parts.concat()))?;
    Some(packets)
}

/// What is written for these packets.
fn write(packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut written = Vec::new();
    let outcome = coalesce::write(packets.iter().map(Vec::as_slice), |parts| {
        written.push(concat(parts));
        Ok(0)
    });
    outcome.unwrap();
    written
}

fn concat(parts: &[IoSlice<'_>]) -> Vec<u8> {
    parts.iter().flat_map(|part| part.iter().copied()).collect()
}

fn alone(packet: &[u8]) -> Vec<u8> {
    [&[0; virtio::LENGTH], packet].concat()
}

/// Whether both checksums are right, told apart from the code under test.
fn is_sound(packet: &[u8]) -> bool {
    let is_v6 = packet[0] >> 4 == 6;
    let (ip, addresses) = if is_v6 { (40, 8..40) } else { (20, 12..20) };
    let words = |bytes: &[u8]| -> u64 {
        let pairs = bytes.chunks(2);
        pairs
            .map(|pair| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0)))
            .sum()
    };
    let length = u64::try_from(packet.len() - ip).unwrap();
    let of_tcp = words(&packet[addresses]) + 6 + length + words(&packet[ip..]);
    let of_ip = if is_v6 { 0xffff } else { words(&packet[..ip]) };
    of_tcp % 0xffff == 0 && of_ip % 0xffff == 0
}

#[test]
fn a_piece_is_cut_into_sound_packets_in_sequence() {
    for is_v6 in [false, true] {
        let mut piece = Tcp::data(is_v6, u32::MAX - 1000, 10_000);
        piece.flags = ACK | PSH | 0x01 | 0x80; // FIN and CWR

        let packets = split(&piece.frame(1368)).unwrap();

        assert_eq!(packets.len(), 8);
        let tcp = piece.ip_len();
        let mut payload = Vec::new();
        for (n, packet) in packets.iter().enumerate() {
            assert!(is_sound(packet), "{n}");
            let sequence = u32::from_be_bytes(packet[tcp + 4..tcp + 8].try_into().unwrap());
            let passed = u32::try_from(payload.len()).unwrap();
            assert_eq!(sequence, piece.sequence.wrapping_add(passed));
            let flags = match n {
                0 => ACK | 0x80,
                7 => ACK | PSH | 0x01,
                _ => ACK,
            };
            assert_eq!(packet[tcp + 13], flags, "{n}");
            if !is_v6 {
                assert_eq!(packet[5], 1 + u8::try_from(n).unwrap());
            }
            payload.extend_from_slice(&packet[piece.headers()..]);
        }
        assert_eq!(payload, piece.payload);
    }
}

#[test]
fn datagrams_in_one_piece_get_headers_of_their_own() {
    let mut packet = vec![0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 17, 0, 0];
    packet.extend([10, 0, 0, 1, 10, 0, 0, 2]);
    packet.extend([0x13, 0x88, 0, 53, 0, 0, 0, 0]);
    packet.extend([7; 250]);
    let header = Header {
        flags: virtio::NEEDS_CHECKSUM,
        kind: virtio::UDP,
        headers: 28,
        segment: 100,
        sum_from: 20,
        sum_at: 6,
    };

    let packets = split(&[&header.bytes()[..], &packet].concat()).unwrap();

    let lengths: Vec<_> = packets.iter().map(Vec::len).collect();
    assert_eq!(lengths, [128, 128, 78]);
    for packet in packets {
        let length = u16::try_from(packet.len() - 20).unwrap();
        assert_eq!(packet[24..26], length.to_be_bytes());
        let sum = Sum::of_pseudo_header(&packet[12..20], 17, length.into()).add(&packet[20..]);
        assert!(sum.is_right());
    }
}

#[test]
fn a_checksum_that_the_kernel_left_open_is_finished() {
    let mut packet = Tcp::data(false, 5, 100).bytes();
    let right = packet.clone();
    let pseudo = Sum::of_pseudo_header(&packet[12..20], 6, 132).partial();
    packet[36..38].copy_from_slice(&pseudo);
    let header = Header {
        flags: virtio::NEEDS_CHECKSUM,
        sum_from: 20,
        sum_at: 16,
        ..Header::default()
    };

    let packets = split(&[&header.bytes()[..], &packet].concat()).unwrap();

    assert_eq!(packets, [right]);
}

#[test]
fn what_was_cut_apart_is_put_together_again() {
    for is_v6 in [false, true] {
        let mut piece = Tcp::data(is_v6, 77, 40_000);
        piece.flags |= PSH;
        let packets = split(&piece.frame(1368)).unwrap();

        let written = write(&packets);

        assert_eq!(written.len(), 1);
        assert_eq!(split(&written[0]).unwrap(), packets);
        let mut frame = written[0].clone();
        let (header, _) = Header::split(&mut frame).unwrap();
        assert_eq!(usize::from(header.headers), piece.headers());
    }
}

#[test]
fn a_packet_alone_is_written_as_it_came() {
    let packet = Tcp::data(true, 77, 100).bytes();
    assert_eq!(write(std::slice::from_ref(&packet)), [alone(&packet)]);
}

#[test]
fn a_spoilt_packet_is_not_made_good() {
    for (spoilt, byte) in [(0, 60), (1, 60), (1, 11), (1, 36)] {
        let mut packets = [
            Tcp::data(false, 0, 100).bytes(),
            Tcp::data(false, 100, 100).bytes(),
        ];
        packets[spoilt][byte] ^= 1;

        let expected: Vec<_> = packets.iter().map(|packet| alone(packet)).collect();
        assert_eq!(write(&packets), expected, "{spoilt} {byte}");
    }
}

#[test]
fn only_what_goes_on_in_the_same_way_is_put_together() {
    let first = Tcp::data(false, 0, 100);
    let next = Tcp::data(false, 100, 100);
    let change = |change: &dyn Fn(&mut Tcp)| {
        let mut next = next.clone();
        change(&mut next);
        next.bytes()
    };
    let mut of_other_host = next.bytes();
    of_other_host[15] = 9;
    let sum = Sum::default()
        .add(&of_other_host[..10])
        .add(&of_other_host[12..20]);
    of_other_host[10..12].copy_from_slice(&sum.checksum());
    let unlike = [
        change(&|next| next.sequence = 101),
        change(&|next| next.sequence = 0),
        change(&|next| next.port = 5001),
        change(&|next| next.flags = ACK | 0x20),
        change(&|next| next.flags = ACK | 0x01),
        change(&|next| next.options[7] = 9),
        change(&|next| next.options.clear()),
        change(&|next| next.payload.push(1)),
        change(&|next| next.payload.clear()),
        of_other_host,
    ];
    for (n, unlike) in unlike.into_iter().enumerate() {
        let packets = [first.bytes(), unlike];
        let expected: Vec<_> = packets.iter().map(|packet| alone(packet)).collect();
        let mut written = write(&packets);
        written.sort();
        let mut sorted = expected.clone();
        sorted.sort();
        assert_eq!(written, sorted, "{n}");
    }
    assert_eq!(write(&[first.bytes(), next.bytes()]).len(), 1);
}

#[test]
fn a_shorter_or_pushed_packet_is_the_last_of_its_piece() {
    let pushed = |sequence, len| {
        let mut segment = Tcp::data(false, sequence, len);
        segment.flags |= PSH;
        segment.bytes()
    };
    let ended = [
        vec![Tcp::data(false, 0, 100).bytes(), pushed(100, 100)],
        vec![
            Tcp::data(false, 0, 100).bytes(),
            Tcp::data(false, 100, 99).bytes(),
        ],
    ];
    for (mut packets, next) in ended.into_iter().zip([200, 199]) {
        packets.push(Tcp::data(false, next, 100).bytes());
        let written = write(&packets);
        assert_eq!(written.len(), 2);
        assert_eq!(written[1], alone(&packets[2]));
    }
}

#[test]
fn connections_between_one_another_are_put_together_each() {
    let packets: Vec<_> = (0..30)
        .map(|n: u16| {
            let mut segment = Tcp::data(n.is_multiple_of(2), u32::from(n / 3) * 500, 500);
            segment.port = 6000 + n % 3;
            segment.is_v6 = n.is_multiple_of(3);
            segment.bytes()
        })
        .collect();

    let written = write(&packets);

    assert_eq!(written.len(), 3);
    let mut again: Vec<_> = written
        .iter()
        .flat_map(|frame| split(frame).unwrap())
        .collect();
    again.sort();
    // The identifications of what is put together count up from the first's.
    let mut lengths: Vec<_> = packets.iter().map(Vec::len).collect();
    lengths.sort_unstable();
    let mut of_again: Vec<_> = again.iter().map(Vec::len).collect();
    of_again.sort_unstable();
    assert_eq!(of_again, lengths);
    assert!(again.iter().all(|packet| is_sound(packet)));
}

#[test]
fn more_connections_than_are_kept_apart_lose_nothing() {
    let packets: Vec<_> = (0..40)
        .map(|n| {
            let mut segment = Tcp::data(false, 0, 50);
            segment.port = n;
            segment.bytes()
        })
        .collect();
    let expected: Vec<_> = packets.iter().map(|packet| alone(packet)).collect();
    assert_eq!(write(&packets), expected);
}

#[test]
fn what_the_kernel_refuses_in_one_piece_is_written_one_by_one() {
    let packets = split(&Tcp::data(false, 0, 5000).frame(1000)).unwrap();
    let mut written = Vec::new();

    let outcome = coalesce::write(packets.iter().map(Vec::as_slice), |parts| {
        if parts.len() > 2 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        written.push(concat(parts));
        Ok(0)
    });

    outcome.unwrap();
    let expected: Vec<_> = packets.iter().map(|packet| alone(packet)).collect();
    assert_eq!(written, expected);
}

proptest! {
    /// Peers send what they like, and the kernel is not to be trusted with lengths either.
    #[test]
    fn no_bytes_stop_it_and_none_are_lost(
        packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..120), 0..8),
        header in any::<[u8; virtio::LENGTH]>(),
    ) {
        for packet in &packets {
            let mut frame = header.to_vec();
            frame[1] &= 7;
            frame.extend(packet);
            _ = split(&frame);
        }
        let expected: usize = packets.iter().map(|packet| virtio::LENGTH + packet.len()).sum();
        let written: usize = write(&packets).iter().map(Vec::len).sum();
        prop_assert_eq!(written, expected);
    }

    #[test]
    fn any_stream_comes_out_whole_and_in_order(
        lengths in prop::collection::vec(1_usize..3000, 1..60),
        is_v6 in any::<bool>(),
        pushes in any::<u64>(),
        segment in 536_usize..1400,
    ) {
        let mut sequence = 1000;
        let (mut packets, mut sent) = (Vec::new(), Vec::new());
        for (n, length) in lengths.iter().enumerate() {
            let mut piece = Tcp::data(is_v6, sequence, *length);
            if pushes >> n & 1 == 1 {
                piece.flags |= PSH;
            }
            sent.extend_from_slice(&piece.payload);
            sequence += u32::try_from(*length).unwrap();
            packets.extend(split(&piece.frame(segment)).unwrap());
        }
        let mut received = Vec::new();
        for frame in write(&packets) {
            for packet in split(&frame).unwrap() {
                prop_assert!(is_sound(&packet));
                let from = if is_v6 { 40 } else { 20 } + 32;
                received.extend_from_slice(&packet[from..]);
            }
        }
        prop_assert!(received == sent);
    }
}
