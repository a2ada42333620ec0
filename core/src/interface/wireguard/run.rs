//! Datagrams of one peer on one path, one after the other in one buffer, so that one call of the
//! system sends them all (UDP GSO).

use super::socket::Path;
use crate::key::PublicKey;

/// The longest payload of a UDP datagram over IPv4, which is what a run is to the system before it
/// is cut apart.
const MOST_BYTES: usize = 65_507;

/// All have the same length, but for the last, which may be shorter.
#[derive(Default)]
pub(super) struct Run {
    /// Whose they are, and the path that they take. `None` where there are none.
    to: Option<(Option<PublicKey>, Path)>,
    bytes: Vec<u8>,
    segment: usize,
    count: usize,
}

impl Run {
    /// Adds a datagram, if the run may have `most` and this one fits what is there.
    pub(super) fn add(
        &mut self,
        peer: Option<PublicKey>,
        path: Path,
        datagram: &[u8],
        most: usize,
    ) -> bool {
        if self.to.is_none() {
            self.to = Some((peer, path));
            self.segment = datagram.len();
        } else {
            let is_ended = self.bytes.len() < self.segment * self.count;
            if is_ended
                || self.to != Some((peer, path))
                || self.count >= most
                || datagram.is_empty()
                || datagram.len() > self.segment
                || self.bytes.len() + datagram.len() > MOST_BYTES
            {
                return false;
            }
        }
        self.bytes.extend_from_slice(datagram);
        self.count += 1;
        true
    }

    /// Whose datagrams they are; `None` for answers to someone who may be no peer.
    pub(super) fn peer(&self) -> Option<PublicKey> {
        self.to.and_then(|(peer, _)| peer)
    }

    pub(super) fn path(&self) -> Option<Path> {
        self.to.map(|(_, path)| path)
    }

    /// From here on they take another path.
    pub(super) fn reroute(&mut self, by: Path) {
        if let Some((_, path)) = &mut self.to {
            *path = by;
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) const fn segment(&self) -> usize {
        self.segment
    }

    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// The first datagram; `None` when there are no more.
    pub(super) fn first(&self) -> Option<&[u8]> {
        let first = self.bytes.get(..self.segment).unwrap_or(&self.bytes);
        (!first.is_empty()).then_some(first)
    }

    /// Forgets the first `count` datagrams.
    pub(super) fn forget(&mut self, count: usize) {
        let gone = (self.segment * count).min(self.bytes.len());
        self.bytes.drain(..gone);
        self.count = self.count.saturating_sub(count);
    }

    /// Forgets all of them; the buffer stays.
    pub(super) fn clear(&mut self) {
        self.to = None;
        self.bytes.clear();
        self.count = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(port: u16) -> Path {
        Path::to(([192, 0, 2, 1], port).into())
    }

    fn peer(n: u8) -> Option<PublicKey> {
        Some(PublicKey::from_bytes([n; 32]))
    }

    #[test]
    fn a_run_never_mixes_peers_paths_or_lengths() {
        let mut run = Run::default();
        assert!(run.add(peer(1), path(1), &[1; 100], 64));
        assert!(run.add(peer(1), path(1), &[2; 100], 64));

        assert!(!run.add(peer(2), path(1), &[3; 100], 64));
        assert!(!run.add(None, path(1), &[3; 100], 64));
        assert!(!run.add(peer(1), path(2), &[3; 100], 64));
        assert!(!run.add(peer(1), path(1), &[3; 101], 64));
        assert!(!run.add(peer(1), path(1), &[3; 100], 2));
        assert_eq!((run.count(), run.bytes().len()), (2, 200));
    }

    #[test]
    fn a_shorter_datagram_ends_a_run() {
        let mut run = Run::default();
        assert!(run.add(peer(1), path(1), &[1; 100], 64));
        assert!(run.add(peer(1), path(1), &[2; 99], 64));
        assert!(!run.add(peer(1), path(1), &[3; 99], 64));
    }

    #[test]
    fn a_run_is_no_longer_than_a_datagram_may_be() {
        let mut run = Run::default();
        let added = (0..64).take_while(|_| run.add(peer(1), path(1), &[7; 1452], 64));
        assert_eq!(added.count(), 45);
        assert!(run.bytes().len() <= MOST_BYTES);

        let mut short = Run::default();
        let added = (0..100).take_while(|_| short.add(peer(1), path(1), &[7; 96], 64));
        assert_eq!(added.count(), 64);
    }

    #[test]
    fn what_is_left_of_a_run_is_whole_datagrams() {
        let mut run = Run::default();
        for n in 1..=3 {
            run.add(peer(1), path(1), &[n; 50], 64);
        }
        run.add(peer(1), path(1), &[4; 20], 64);

        run.forget(2);
        assert_eq!(run.first(), Some(&[3; 50][..]));
        run.forget(1);
        assert_eq!((run.first(), run.count()), (Some(&[4; 20][..]), 1));
        run.forget(1);
        assert_eq!((run.first(), run.count()), (None, 0));
    }
}
