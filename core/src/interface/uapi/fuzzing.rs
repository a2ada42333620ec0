//! What the fuzz target calls: a program's response. Not a part of the crate as it is built
//! elsewhere.

use super::protocol;
use crate::interface::PeerConfig;

/// The peers in a response, if it says that all went well.
///
/// # Panics
/// When what was read would be sent in a form that reads back otherwise, or when a removal would
/// not see all who are listed.
pub fn peers(response: &[u8]) -> Option<Vec<PeerConfig>> {
    let keys = protocol::parse_keys(response);
    let device = protocol::parse(response).ok()?;
    assert!(
        response.windows(6).any(|part| part == b"errno="),
        "nothing is concluded from less"
    );
    let listed: Vec<_> = device.peers.iter().map(|peer| peer.config.key).collect();
    assert_eq!(keys.ok(), Some(listed), "who is listed can be removed");
    let peers: Vec<_> = device.peers.into_iter().map(|peer| peer.config).collect();
    for peer in &peers {
        let sent = protocol::add(peer);
        let said = sent.trim_start_matches("set=1\n").trim_end();
        let again = protocol::parse(format!("{said}\nerrno=0\n\n").as_bytes());
        let again = again.ok().and_then(|mut device| device.peers.pop());
        assert_eq!(again.map(|peer| peer.config).as_ref(), Some(peer));
    }
    Some(peers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fuzz_targets_seeds_are_right() {
        let peers_of = |seed: &[u8]| peers(seed).map(|peers| peers.len());
        let corpus = include_bytes!("../../../../tests/fuzz/corpus/uapi/seed-two-peers");
        assert_eq!(peers_of(corpus), Some(2));
        let done = include_bytes!("../../../../tests/fuzz/corpus/uapi/seed-done");
        assert_eq!(peers_of(done), Some(0));
        let odd = include_bytes!("../../../../tests/fuzz/corpus/uapi/seed-odd-statistics");
        assert_eq!(peers_of(odd), Some(2));
    }
}
