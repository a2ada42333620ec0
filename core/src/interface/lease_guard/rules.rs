//! What the guard's table is made of: four sets, two chains, and six rules in each.
//!
//! Single addresses, which most peers have, are in sets of their own: the kernel finds, adds and
//! removes one in the same time however many there are. A set of networks it walks at each change.
//!
//! Other interfaces' packets, the encrypted ones among them, meet the first rule alone.
//!
//! ```text
//! table inet mfagate-wg0 {
//!     set hosts4 { type ipv4_addr; flags timeout; timeout 1s; counter; }
//!     set hosts6 { type ipv6_addr; flags timeout; timeout 1s; counter; }
//!     set nets4 { type ipv4_addr; flags interval,timeout; timeout 1s; counter; }
//!     set nets6 { type ipv6_addr; flags interval,timeout; timeout 1s; counter; }
//!     chain entering {
//!         type filter hook prerouting priority -450; policy accept;
//!         iifname != "wg0" accept
//!         ip saddr @hosts4 accept
//!         ip6 saddr @hosts6 accept
//!         ip saddr @nets4 accept
//!         ip6 saddr @nets6 accept
//!         counter drop
//!     }
//!     chain leaving {
//!         type filter hook postrouting priority -450; policy accept;
//!         oifname != "wg0" accept
//!         ip daddr @hosts4 accept
//!         ip6 daddr @hosts6 accept
//!         ip daddr @nets4 accept
//!         ip6 daddr @nets6 accept
//!         counter drop
//!     }
//! }
//! ```

use super::interval::{Family, Interval};
use super::message::{Ask, Attributes, Messages};

/// `NFTA_*_TABLE`: the first attribute of whatever is in a table.
pub(super) const IN_TABLE: u16 = 1;
/// `NFTA_LIST_ELEM`.
pub(super) const LIST_ELEMENT: u16 = 1;
/// `NFTA_EXPR_DATA`.
pub(super) const EXPRESSION_DATA: u16 = 2;
/// `NFTA_DATA_VALUE` and `NFTA_DATA_VERDICT`.
pub(super) const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;

/// `NFT_TABLE_F_OWNER | NFT_TABLE_F_PERSIST` (Linux 6.9): no one else changes or flushes the
/// table while the socket that made it is open, and it stays when that is closed.
pub(super) const OWNED: u32 = 2 | 4;
/// A table that anyone with the capability may change.
pub(super) const PLAIN: u32 = 0;

/// Before everything else, the defragmentation of connection tracking (-400) among it.
const PRIORITY: i32 = -450;
/// `NFT_SET_TIMEOUT`, `NFT_SET_INTERVAL`.
const HAS_TIMEOUT: u32 = 0x10;
const HAS_INTERVALS: u32 = 0x4;
/// An element that comes without a lease, by an operator's hand, has an end anyway.
const DEFAULT_TIMEOUT_MS: u64 = 1000;

/// `NFT_REG_VERDICT` and `NFT_REG_1`.
const VERDICT_REGISTER: u32 = 0;
const REGISTER: u32 = 1;
/// `NFT_CMP_EQ`, `NFT_CMP_NEQ`.
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;
/// `NF_DROP`, `NF_ACCEPT`.
const DROP: u32 = 0;
const ACCEPT: u32 = 1;

/// A set of live addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Set {
    /// Single addresses.
    Hosts(Family),
    /// Networks of more than one address.
    Nets(Family),
}

impl Set {
    pub(super) const ALL: [Self; 4] = [
        Self::Hosts(Family::V4),
        Self::Hosts(Family::V6),
        Self::Nets(Family::V4),
        Self::Nets(Family::V6),
    ];

    /// Where this network belongs.
    pub(super) fn of(network: &Interval) -> Self {
        if network.is_single() {
            Self::Hosts(network.family)
        } else {
            Self::Nets(network.family)
        }
    }

    pub(super) const fn family(self) -> Family {
        match self {
            Self::Hosts(family) | Self::Nets(family) => family,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Hosts(Family::V4) => "hosts4",
            Self::Hosts(Family::V6) => "hosts6",
            Self::Nets(Family::V4) => "nets4",
            Self::Nets(Family::V6) => "nets6",
        }
    }

    const fn flags(self) -> u32 {
        match self {
            Self::Hosts(_) => HAS_TIMEOUT,
            Self::Nets(_) => HAS_TIMEOUT | HAS_INTERVALS,
        }
    }
}

/// One way through the interface.
#[derive(Debug, Clone, Copy)]
enum Way {
    Entering,
    Leaving,
}

impl Way {
    const BOTH: [Self; 2] = [Self::Entering, Self::Leaving];

    const fn chain(self) -> &'static str {
        match self {
            Self::Entering => "entering",
            Self::Leaving => "leaving",
        }
    }

    /// `NF_INET_PRE_ROUTING`, `NF_INET_POST_ROUTING`.
    const fn hook(self) -> u32 {
        match self {
            Self::Entering => 0,
            Self::Leaving => 4,
        }
    }

    /// `NFT_META_IIFNAME`, `NFT_META_OIFNAME`.
    const fn interface_name(self) -> u32 {
        match self {
            Self::Entering => 6,
            Self::Leaving => 7,
        }
    }

    /// Where a packet has the peer's address: its source on the way in, its destination out.
    const fn address_offset(self, family: Family) -> u32 {
        match (self, family) {
            (Self::Entering, Family::V4) => 12,
            (Self::Entering, Family::V6) => 8,
            (Self::Leaving, Family::V4) => 16,
            (Self::Leaving, Family::V6) => 24,
        }
    }
}

/// Makes the table, or makes it again around the sets of one that is there: their elements stay.
pub(super) fn make(messages: &mut Messages, table: &str, interface: &str, flags: u32) {
    messages.ask(Ask::NewTable, |new| {
        new.text(IN_TABLE, table);
        new.u32(2, flags); // NFTA_TABLE_FLAGS
    });
    for (id, set) in (1..).zip(Set::ALL) {
        make_set(messages, table, set, id);
    }
    for way in Way::BOTH {
        make_chain(messages, table, way);
        messages.ask(Ask::DelRule, |all| {
            all.text(IN_TABLE, table);
            all.text(2, way.chain()); // NFTA_RULE_CHAIN
        });
        rule(messages, table, way, |rule| {
            is_not_of_interface(rule, way, interface);
            verdict(rule, ACCEPT);
        });
        for set in Set::ALL {
            rule(messages, table, way, |rule| {
                is_live(rule, way, set);
                verdict(rule, ACCEPT);
            });
        }
        rule(messages, table, way, |rule| {
            expression(rule, "counter", |_| ());
            verdict(rule, DROP);
        });
    }
}

/// Takes the table with all that is in it.
pub(super) fn unmake(messages: &mut Messages, table: &str) {
    messages.ask(Ask::DelTable, |old| old.text(IN_TABLE, table));
}

fn make_set(messages: &mut Messages, table: &str, set: Set, id: u32) {
    // What `nft` calls `ipv4_addr` and `ipv6_addr`.
    let key_type = match set.family() {
        Family::V4 => 7,
        Family::V6 => 8,
    };
    messages.ask(Ask::NewSet, |new| {
        new.text(IN_TABLE, table);
        new.text(2, set.name()); // NFTA_SET_NAME
        new.u32(3, set.flags()); // NFTA_SET_FLAGS
        new.u32(4, key_type); // NFTA_SET_KEY_TYPE
        new.u32(5, set.family().width()); // NFTA_SET_KEY_LEN
        new.u32(10, id); // NFTA_SET_ID
        new.u64(11, DEFAULT_TIMEOUT_MS); // NFTA_SET_TIMEOUT
        new.nested(17, |each| named(each, "counter", |_| ())); // NFTA_SET_EXPR
    });
}

fn make_chain(messages: &mut Messages, table: &str, way: Way) {
    messages.ask(Ask::NewChain, |new| {
        new.text(IN_TABLE, table);
        new.text(3, way.chain()); // NFTA_CHAIN_NAME
        new.nested(4, |hook| {
            hook.u32(1, way.hook()); // NFTA_HOOK_HOOKNUM
            hook.bytes(2, &PRIORITY.to_be_bytes()); // NFTA_HOOK_PRIORITY
        });
        new.u32(5, ACCEPT); // NFTA_CHAIN_POLICY
        new.text(7, "filter"); // NFTA_CHAIN_TYPE
    });
}

fn rule(
    messages: &mut Messages,
    table: &str,
    way: Way,
    expressions: impl FnOnce(&mut Attributes<'_>),
) {
    messages.ask(Ask::NewRule, |new| {
        new.text(IN_TABLE, table);
        new.text(2, way.chain()); // NFTA_RULE_CHAIN
        new.nested(4, expressions); // NFTA_RULE_EXPRESSIONS
    });
}

fn expression(rule: &mut Attributes<'_>, name: &str, data: impl FnOnce(&mut Attributes<'_>)) {
    rule.nested(LIST_ELEMENT, |expression| named(expression, name, data));
}

fn named(expression: &mut Attributes<'_>, name: &str, data: impl FnOnce(&mut Attributes<'_>)) {
    expression.text(1, name); // NFTA_EXPR_NAME
    expression.nested(EXPRESSION_DATA, data);
}

fn is_not_of_interface(rule: &mut Attributes<'_>, way: Way, interface: &str) {
    load_meta(rule, way.interface_name());
    // The whole field, so that no longer name matches.
    let mut name = [0; 16];
    for (to, from) in name.iter_mut().zip(interface.bytes()) {
        *to = from;
    }
    compare(rule, NOT_EQUAL, &name);
}

fn is_live(rule: &mut Attributes<'_>, way: Way, set: Set) {
    let family = set.family();
    load_meta(rule, 15); // NFT_META_NFPROTO
    let protocol = match family {
        Family::V4 => [2],
        Family::V6 => [10],
    };
    compare(rule, EQUAL, &protocol);
    expression(rule, "payload", |load| {
        load.u32(1, REGISTER); // NFTA_PAYLOAD_DREG
        load.u32(2, 1); // NFTA_PAYLOAD_BASE: the network header
        load.u32(3, way.address_offset(family)); // NFTA_PAYLOAD_OFFSET
        load.u32(4, family.width()); // NFTA_PAYLOAD_LEN
    });
    expression(rule, "lookup", |lookup| {
        lookup.text(1, set.name()); // NFTA_LOOKUP_SET
        lookup.u32(2, REGISTER); // NFTA_LOOKUP_SREG
    });
}

fn load_meta(rule: &mut Attributes<'_>, key: u32) {
    expression(rule, "meta", |meta| {
        meta.u32(1, REGISTER); // NFTA_META_DREG
        meta.u32(2, key); // NFTA_META_KEY
    });
}

fn compare(rule: &mut Attributes<'_>, how: u32, value: &[u8]) {
    expression(rule, "cmp", |compare| {
        compare.u32(1, REGISTER); // NFTA_CMP_SREG
        compare.u32(2, how); // NFTA_CMP_OP
        compare.nested(3, |data| data.bytes(DATA_VALUE, value)); // NFTA_CMP_DATA
    });
}

fn verdict(rule: &mut Attributes<'_>, code: u32) {
    expression(rule, "immediate", |immediate| {
        immediate.u32(1, VERDICT_REGISTER); // NFTA_IMMEDIATE_DREG
        immediate.nested(2, |data| {
            data.nested(DATA_VERDICT, |verdict| verdict.u32(1, code)); // NFTA_VERDICT_CODE
        });
    });
}
