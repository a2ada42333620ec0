//! The Internet checksum (RFC 1071).

/// A sum under way, in the machine's own byte order, which the sum does not depend on.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sum(u64);

impl Sum {
    /// Begins with the pseudo-header of TCP or UDP (RFC 9293, section 3.1; RFC 8200, section 8.1):
    /// both addresses, the protocol, and the length of what is summed.
    pub(super) fn of_pseudo_header(addresses: &[u8], protocol: u8, length: u32) -> Self {
        Self::default()
            .add(addresses)
            .add(&[0, protocol])
            .add(&length.to_be_bytes())
    }

    /// Adds a part. Only the last may have an odd length.
    #[must_use]
    pub(super) fn add(self, bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<4>();
        let mut last = [0; 4];
        for (byte, of) in last.iter_mut().zip(rest) {
            *byte = *of;
        }
        let of_words = words.iter().chain([&last]);
        // Two 16-bit words at a time: 2^16 is 1 in one's complement arithmetic. A packet has too few
        // of them for an overflow.
        Self(
            self.0
                + of_words
                    .map(|word| u64::from(u32::from_ne_bytes(*word)))
                    .sum::<u64>(),
        )
    }

    /// The sum as it is written into a packet whose checksum is to be finished by someone else.
    pub(super) fn partial(self) -> [u8; 2] {
        self.fold().to_ne_bytes()
    }

    /// The checksum.
    pub(super) fn checksum(self) -> [u8; 2] {
        (!self.fold()).to_ne_bytes()
    }

    /// Whether a sum over all, with the checksum in it, is right.
    pub(super) fn is_right(self) -> bool {
        self.fold() == u16::MAX
    }

    fn fold(self) -> u16 {
        let mut sum = self.0;
        while sum > u64::from(u16::MAX) {
            sum = (sum >> 16) + (sum & u64::from(u16::MAX));
        }
        u16::try_from(sum).unwrap_or(u16::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_checksum_of_rfc_1071() {
        // The example of section 3.
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::default().add(&bytes).partial(), [0xdd, 0xf2]);
        assert_eq!(Sum::default().add(&bytes).checksum(), [0x22, 0x0d]);
    }

    #[test]
    fn parts_sum_up_to_the_whole() {
        let bytes: Vec<u8> = (0..=254).collect();
        let whole = Sum::default().add(&bytes).checksum();
        for at in (0..bytes.len()).step_by(2) {
            let (first, second) = bytes.split_at(at);
            assert_eq!(Sum::default().add(first).add(second).checksum(), whole);
        }
        let mut padded = bytes.clone();
        padded.push(0);
        assert_eq!(Sum::default().add(&padded).checksum(), whole);
        padded.extend(whole);
        assert!(Sum::default().add(&padded).is_right());
    }
}
