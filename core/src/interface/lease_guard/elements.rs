//! The elements of the sets: networks, each with the time that it has left, and with a count of
//! what passed.

use std::time::Duration;

use netlink_packet_core::{NlaBuffer, NlasIterator, parse_u32_be, parse_u64_be};

use super::interval::{Edge, Family, Interval, pair};
use super::message::{Ask, Attributes, Messages};
use super::rules::{DATA_VALUE, EXPRESSION_DATA, IN_TABLE, LIST_ELEMENT, Set};

/// How many networks one transaction takes: what its messages fill stays well below the usual
/// send buffer of 208 KiB, and the elements of one message below the 64 KiB of an attribute.
pub(super) const CHUNK: usize = 500;

/// `NFTA_SET_ELEM_LIST_SET`, `NFTA_SET_ELEM_LIST_ELEMENTS`.
const IN_SET: u16 = 2;
const ELEMENTS: u16 = 3;
/// `NFTA_SET_ELEM_KEY`, `NFTA_SET_ELEM_FLAGS`, `NFTA_SET_ELEM_TIMEOUT`,
/// `NFTA_SET_ELEM_EXPIRATION`, `NFTA_SET_ELEM_EXPR`.
const KEY: u16 = 1;
const FLAGS: u16 = 3;
const TIMEOUT: u16 = 4;
const EXPIRATION: u16 = 5;
const EXPRESSION: u16 = 7;
/// `NFTA_COUNTER_BYTES`.
const COUNTED: u16 = 1;
/// `NFT_SET_ELEM_INTERVAL_END`.
const IS_END: u32 = 1;
/// The least time there is. Zero would mean "forever".
const LEAST: Duration = Duration::from_millis(1);

/// What the kernel knows of a network that passes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Passing {
    pub(super) left: Duration,
    /// What has passed since it was put in, in both directions, in bytes of whole packets; `None`
    /// in a set that does not count.
    pub(super) bytes: Option<u64>,
}

/// Puts these networks in the sets, each with exactly this time from now on, whatever it had
/// before. What has no time left is taken out.
///
/// Adding an element that is there changes nothing before Linux 6.12, and deleting one that isn't
/// there is an error before 6.3's own message for it; so each is added, deleted and added again,
/// which is one step to everybody outside of the transaction.
pub(super) fn put(messages: &mut Messages, table: &str, leases: &[(Interval, Duration)]) {
    for set in Set::ALL {
        let of_set = || leases.iter().filter(move |lease| Set::of(&lease.0) == set);
        change(messages, Ask::NewElement, table, set, of_set());
        change(messages, Ask::DelElement, table, set, of_set());
        let last = of_set().filter(|(_, left)| *left >= LEAST);
        change(messages, Ask::NewElement, table, set, last);
    }
}

/// Takes these networks out of the sets, where they are in.
pub(super) fn take(messages: &mut Messages, table: &str, networks: &[Interval]) {
    let over: Vec<_> = networks.iter().map(|net| (*net, Duration::ZERO)).collect();
    put(messages, table, &over);
}

/// Takes everything out of all sets.
pub(super) fn clear(messages: &mut Messages, table: &str) {
    for set in Set::ALL {
        messages.ask(Ask::DelElement, |old| of_set(old, table, set));
    }
}

/// Which set a listing is of.
pub(super) fn of_set(list: &mut Attributes<'_>, table: &str, set: Set) {
    list.text(IN_TABLE, table);
    list.text(IN_SET, set.name());
}

/// The networks in a listing of a set.
pub(super) fn read(set: Set, listing: &[Vec<u8>]) -> Option<Vec<(Interval, Passing)>> {
    let family = set.family();
    let mut edges = Vec::new();
    for message in listing {
        let Some(elements) = find(message, ELEMENTS)? else {
            continue;
        };
        for element in NlasIterator::new(elements) {
            edges.push(read_element(family, element.ok()?.value())?);
        }
    }
    Some(match set {
        Set::Hosts(_) => edges
            .into_iter()
            .filter_map(|edge| Some((Interval::single(family, edge.address), edge.start?)))
            .collect(),
        Set::Nets(_) => pair(family, edges),
    })
}

fn change<'a>(
    messages: &mut Messages,
    ask: Ask,
    table: &str,
    set: Set,
    leases: impl Iterator<Item = &'a (Interval, Duration)>,
) {
    let mut leases = leases.peekable();
    if leases.peek().is_none() {
        return; // without a list of elements, a deletion is of all
    }
    let family = set.family();
    messages.ask(ask, |change| {
        of_set(change, table, set);
        change.nested(ELEMENTS, |elements| {
            for (network, left) in leases {
                let timeout = (ask == Ask::NewElement).then_some(*left);
                element(elements, family, network.start, timeout, false);
                let ends = matches!(set, Set::Nets(_));
                if let Some(end) = network.end.filter(|_| ends) {
                    element(elements, family, end, None, true);
                }
            }
        });
    });
}

fn element(
    elements: &mut Attributes<'_>,
    family: Family,
    address: u128,
    timeout: Option<Duration>,
    is_end: bool,
) {
    elements.nested(LIST_ELEMENT, |element| {
        element.nested(KEY, |key| key.bytes(DATA_VALUE, &family.bytes(address)));
        if is_end {
            element.u32(FLAGS, IS_END);
        }
        if let Some(left) = timeout {
            let millis = u64::try_from(left.max(LEAST).as_millis()).unwrap_or(u64::MAX);
            element.u64(TIMEOUT, millis);
        }
    });
}

fn read_element(family: Family, element: &[u8]) -> Option<Edge<Passing>> {
    let key = find(find(element, KEY)??, DATA_VALUE)??;
    let flags = find(element, FLAGS)?.map_or(Some(0), |flags| parse_u32_be(flags).ok())?;
    let left = find(element, EXPIRATION)?.map_or(Some(0), |left| parse_u64_be(left).ok())?;
    let is_start = flags & IS_END == 0;
    let passing = Passing {
        left: Duration::from_millis(left),
        bytes: counted(element)?,
    };
    Some(Edge {
        address: family.address(key)?,
        start: is_start.then_some(passing),
    })
}

/// What the element's counter says, if it has one.
#[expect(
    clippy::option_option,
    reason = "not there and not readable are told apart"
)]
fn counted(element: &[u8]) -> Option<Option<u64>> {
    let Some(counter) = find(element, EXPRESSION)? else {
        return Some(None);
    };
    let bytes = find(find(counter, EXPRESSION_DATA)??, COUNTED)??;
    Some(Some(parse_u64_be(bytes).ok()?))
}

/// The value of an attribute: the outer `None` is a message that can't be read, the inner one an
/// attribute that isn't there.
#[expect(
    clippy::option_option,
    reason = "not there and not readable are told apart"
)]
fn find(attributes: &[u8], kind: u16) -> Option<Option<&[u8]>> {
    let mut position = 0;
    while position < attributes.len() {
        let attribute = NlaBuffer::new_checked(attributes.get(position..)?).ok()?;
        let length = usize::from(attribute.length());
        if attribute.kind() == kind {
            return Some(attributes.get(position + 4..position + length));
        }
        position += length.next_multiple_of(4);
    }
    Some(None)
}
