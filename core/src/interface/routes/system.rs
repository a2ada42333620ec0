//! The system's rules and routes, over netlink: read, added and taken back one by one. Nothing is
//! ever replaced.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::net::IpAddr;

use futures_util::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::{RouteAttribute, RouteHeader, RouteMessage, RouteProtocol};
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
use rtnetlink::{Handle, IpVersion, RouteMessageBuilder, new_connection};
use tokio_util::task::AbortOnDropHandle;

use super::numbers::Numbers;
use super::plan::{Entry, Family};
use crate::interface::netlink::{LinkFault, destination_of, link_of, os_error, refused};

/// What all rules and routes of this crate are recognised by: the number in their field `protocol`.
const OURS: RouteProtocol = RouteProtocol::Other(109);

/// Who may be asked for changes.
pub(super) struct System {
    handle: Handle,
    _connection: AbortOnDropHandle<()>,
}

/// All rules and routes of the machine.
pub(super) struct All {
    rules: Vec<RuleMessage>,
    routes: Vec<RouteMessage>,
}

/// A rule or a route as the system tells it.
enum Raw {
    Rule(RuleMessage),
    Route(RouteMessage),
}

impl System {
    pub(super) fn open() -> Result<Self, LinkFault> {
        let (connection, handle, _) = new_connection().map_err(LinkFault::Netlink)?;
        let connection = AbortOnDropHandle::new(tokio::spawn(connection));
        Ok(Self {
            handle,
            _connection: connection,
        })
    }

    pub(super) async fn read(&self) -> Result<All, LinkFault> {
        let mut all = All {
            rules: Vec::new(),
            routes: Vec::new(),
        };
        for family in Family::BOTH {
            let version = match family {
                Family::V4 => IpVersion::V4,
                Family::V6 => IpVersion::V6,
            };
            let rules = self.handle.rule().get(version).execute();
            all.rules.extend(known(rules.try_collect().await)?);
            let routes = self.handle.route().get(any_route(family)).execute();
            all.routes.extend(known(routes.try_collect().await)?);
        }
        Ok(all)
    }

    /// Has exactly these entries under these numbers, and of this interface in the machine's own
    /// table. What IPv6 being off keeps from being there is left out; gives why.
    pub(super) async fn have(
        &self,
        wanted: &BTreeSet<Entry>,
        numbers: Numbers,
        link: u32,
    ) -> Result<Option<LinkFault>, LinkFault> {
        let (mut known, mut surplus) = (BTreeSet::new(), Vec::new());
        for (entry, raw) in self.read().await?.ours(numbers, link) {
            match entry.filter(|entry| wanted.contains(entry) && !known.contains(entry)) {
                Some(entry) => _ = known.insert(entry),
                None => surplus.push((entry, raw)),
            }
        }
        let (mut off, mut usable) = (None, wanted.is_empty());
        for entry in wanted {
            let is_off = off.is_some() && entry.family() == Family::V6;
            if is_off {
                continue;
            }
            if !known.contains(entry) {
                match self.add(*entry, numbers, link).await {
                    Err(error @ LinkFault::Ipv6Off { .. }) => {
                        off = Some(error);
                        continue;
                    }
                    added => added?,
                }
            }
            usable = true;
        }
        self.take_all_back(surplus).await?;
        match off {
            Some(off) if !usable => Err(off),
            off => Ok(off),
        }
    }

    /// Takes all back that is under these numbers.
    pub(super) async fn clear(&self, all: &All, numbers: Numbers) -> Result<(), LinkFault> {
        self.take_all_back(all.ours(numbers, 0).collect()).await
    }

    /// In the order that leads nowhere meanwhile; the rest goes even if one does not.
    async fn take_all_back(&self, mut these: Vec<(Option<Entry>, Raw)>) -> Result<(), LinkFault> {
        these.sort_by_key(|(entry, _)| Reverse(*entry));
        let mut outcome = Ok(());
        for (_, raw) in these {
            if let Err(error) = self.take_back(raw).await {
                outcome = Err(error);
            }
        }
        outcome
    }

    async fn add(&self, entry: Entry, numbers: Numbers, link: u32) -> Result<(), LinkFault> {
        match entry {
            Entry::TableRoute(network) => self.add_route(network, numbers.table(), link).await,
            Entry::MainRoute(network) => {
                let main = RouteHeader::RT_TABLE_MAIN.into();
                // The system takes ours beside another of the same network whose metric differs; the
                // smaller one wins, and what the session is for would leave by another interface.
                let wins = |route: &RouteMessage| {
                    table_of(route) == main
                        && destination_of(route) == Some(network)
                        && link_of(route) != Some(link)
                        && metric_of(route) <= metric_of_ours(network)
                };
                if self.read().await?.routes.iter().any(wins) {
                    return Err(LinkFault::RouteTaken { network });
                }
                self.add_route(network, main, link).await
            }
            Entry::Past(_) | Entry::Outside(_) | Entry::Closer(..) | Entry::Tunnel(_) => {
                let mut request = self.handle.rule().add();
                *request.message_mut() = rule(entry, numbers);
                let added = request.execute().await;
                Ok(added?)
            }
        }
    }

    async fn add_route(&self, network: IpNet, table: u32, link: u32) -> Result<(), LinkFault> {
        let route = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(network.network(), network.prefix_len())
            .map_err(|_| LinkFault::Network(network))?
            .table_id(table)
            .protocol(OURS)
            .output_interface(link)
            .build();
        let Err(error) = self.handle.route().add(route).execute().await else {
            return Ok(());
        };
        if os_error(&error) != Some(libc::EEXIST) {
            return Err(refused(error, &network));
        }
        // The interface's own address may have brought the same route, which is not ours then.
        let all = self.read().await?;
        let is_there = |route: &RouteMessage| {
            table_of(route) == table
                && link_of(route) == Some(link)
                && destination_of(route) == Some(network)
        };
        if all.routes.iter().any(is_there) {
            return Ok(());
        }
        Err(LinkFault::RouteTaken { network })
    }

    /// What has gone already is as good as taken back.
    async fn take_back(&self, raw: Raw) -> Result<(), LinkFault> {
        let done = match raw {
            Raw::Rule(rule) => self.handle.rule().del(rule).execute().await,
            Raw::Route(route) => self.handle.route().del(route).execute().await,
        };
        match done {
            Err(error) if !is_gone(&error) => Err(error.into()),
            _ => Ok(()),
        }
    }
}

impl All {
    /// What is under these numbers, and this interface's in the machine's own table, if it is this
    /// crate's; with what it is, where that is known.
    fn ours(&self, numbers: Numbers, link: u32) -> impl Iterator<Item = (Option<Entry>, Raw)> {
        let rules = self
            .rules
            .iter()
            .filter(move |rule| is_our_rule(rule) && numbers.has_priority(priority_of(rule)));
        let rules = rules.map(move |rule| (rule_entry(rule, numbers), Raw::Rule(rule.clone())));
        let routes = self.routes.iter().filter(|route| is_our_route(route));
        let routes = routes.filter_map(move |route| {
            let (table, network) = (table_of(route), destination_of(route));
            let is_this = link_of(route) == Some(link);
            let entry = if table == numbers.table() {
                network.filter(|_| is_this).map(Entry::TableRoute)
            } else if table == u32::from(RouteHeader::RT_TABLE_MAIN) && is_this {
                network.map(Entry::MainRoute)
            } else {
                return None;
            };
            Some((entry, Raw::Route(route.clone())))
        });
        rules.chain(routes)
    }

    /// Whether something of this crate's is under these numbers.
    pub(super) fn has_left(&self, numbers: Numbers) -> bool {
        self.ours(numbers, 0).next().is_some()
    }

    /// Whether another program uses one of these numbers.
    pub(super) fn is_taken(&self, numbers: Numbers) -> bool {
        let mut rules = self.rules.iter().filter(|rule| !is_our_rule(rule));
        let mut routes = self.routes.iter().filter(|route| !is_our_route(route));
        let table = numbers.table();
        let looks_up = |rule: &RuleMessage| {
            rule.attributes.contains(&RuleAttribute::Table(table))
                || rule.attributes.contains(&RuleAttribute::FwMark(table))
        };
        rules.any(|rule| numbers.has_priority(priority_of(rule)) || looks_up(rule))
            || routes.any(|route| table_of(route) == table)
    }
}

/// The rule that an entry is.
fn rule(entry: Entry, numbers: Numbers) -> RuleMessage {
    let mut rule = RuleMessage::default();
    rule.header.family = match entry.family() {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    };
    let (priority, action) = match entry {
        Entry::Outside(address) => {
            rule.header.dst_len = IpNet::from(address).prefix_len();
            rule.attributes.push(RuleAttribute::Destination(address));
            rule.attributes.push(RuleAttribute::Goto(numbers.past()));
            (numbers.outside(), RuleAction::Goto)
        }
        Entry::Closer(_, prefix) => {
            rule.header.table = RouteHeader::RT_TABLE_MAIN;
            let suppressed = RuleAttribute::SuppressPrefixLen(prefix.into());
            rule.attributes.push(suppressed);
            (numbers.closer(), RuleAction::ToTable)
        }
        Entry::Tunnel(_) => {
            rule.header.flags = RuleFlags::Invert;
            let table = numbers.table();
            rule.attributes.push(RuleAttribute::FwMark(table));
            rule.attributes.push(RuleAttribute::Table(table));
            (numbers.tunnel(), RuleAction::ToTable)
        }
        Entry::Past(_) | Entry::TableRoute(_) | Entry::MainRoute(_) => {
            (numbers.past(), RuleAction::Nop)
        }
    };
    rule.header.action = action;
    rule.attributes.push(RuleAttribute::Priority(priority));
    rule.attributes.push(RuleAttribute::Protocol(OURS));
    rule
}

/// The entry that a rule of this crate's is.
fn rule_entry(rule: &RuleMessage, numbers: Numbers) -> Option<Entry> {
    let family = if rule.header.family == AddressFamily::Inet6 {
        Family::V6
    } else {
        Family::V4
    };
    let priority = priority_of(rule);
    if priority == numbers.past() {
        return Some(Entry::Past(family));
    }
    if priority == numbers.tunnel() {
        return Some(Entry::Tunnel(family));
    }
    rule.attributes.iter().find_map(|attribute| {
        if let RuleAttribute::Destination(address) = attribute {
            (priority == numbers.outside()).then_some(Entry::Outside(*address))
        } else if let RuleAttribute::SuppressPrefixLen(prefix) = attribute {
            let prefix = u8::try_from(*prefix).ok()?;
            (priority == numbers.closer()).then_some(Entry::Closer(family, prefix))
        } else {
            None
        }
    })
}

fn is_our_rule(rule: &RuleMessage) -> bool {
    rule.attributes.contains(&RuleAttribute::Protocol(OURS))
}

fn priority_of(rule: &RuleMessage) -> u32 {
    let priority = rule.attributes.iter().find_map(|attribute| {
        if let RuleAttribute::Priority(priority) = attribute {
            Some(*priority)
        } else {
            None
        }
    });
    priority.unwrap_or_default() // the kernel leaves out a zero
}

fn is_our_route(route: &RouteMessage) -> bool {
    route.header.protocol == OURS
}

fn table_of(route: &RouteMessage) -> u32 {
    let table = route.attributes.iter().find_map(|attribute| {
        if let RouteAttribute::Table(table) = attribute {
            Some(*table)
        } else {
            None
        }
    });
    table.unwrap_or_else(|| route.header.table.into())
}

fn metric_of(route: &RouteMessage) -> u32 {
    let metric = route.attributes.iter().find_map(|attribute| {
        if let RouteAttribute::Priority(metric) = attribute {
            Some(*metric)
        } else {
            None
        }
    });
    metric.unwrap_or_default() // the kernel leaves out a zero
}

/// What a route has that was added without a metric.
const fn metric_of_ours(network: IpNet) -> u32 {
    match network {
        IpNet::V4(_) => 0,
        IpNet::V6(_) => 1024,
    }
}

fn any_route(family: Family) -> RouteMessage {
    let mut route = RouteMessage::default();
    route.header.address_family = match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    };
    route
}

/// A machine without IPv6 has none of its rules and routes.
fn known<T>(read: Result<Vec<T>, rtnetlink::Error>) -> Result<Vec<T>, LinkFault> {
    match read {
        Err(error)
            if matches!(
                os_error(&error),
                Some(libc::EAFNOSUPPORT | libc::EOPNOTSUPP)
            ) =>
        {
            Ok(Vec::new())
        }
        read => Ok(read?),
    }
}

fn is_gone(error: &rtnetlink::Error) -> bool {
    let gone = [libc::ENOENT, libc::ESRCH, libc::ENODEV];
    os_error(error).is_some_and(|code| gone.contains(&code))
}
