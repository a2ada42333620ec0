//! The guard's table in the kernel. Every call blocks, for microseconds as a rule.

use std::collections::BTreeMap;
use std::time::Duration;

use rustix::io::Errno;

use super::elements::{self, CHUNK};
use super::error::GuardFault;
use super::interval::Interval;
use super::message::{Ask, Messages};
use super::rules::{self, IN_TABLE, OWNED, PLAIN, Set};
use super::socket::{Connection, Trouble};
use crate::log;
use crate::time::{Clock, Instant, SystemClock};

/// How often a transaction is tried again after what it was about changed under it.
const TRIES: u32 = 5;

/// How often, and after how long, a table that has an owner is asked for again.
const HANDOVERS: u32 = 100;
const HANDOVER: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(super) struct Table {
    connection: Connection,
    interface: String,
    name: String,
    /// Whether the kernel keeps others away from the table.
    flags: u32,
    /// What was put in and until when, should someone delete the table.
    held: BTreeMap<Interval, Instant>,
    state: State,
}

/// What is known of a network that passes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pass {
    pub(super) until: Instant,
    /// What has passed since it was last put in, in both directions; `None` where the table is an
    /// older version's, which did not count.
    pub(super) bytes: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Nothing is let in any more.
    Fenced,
    /// The table was taken away.
    Unmade,
}

impl Table {
    /// Makes the table, or takes over one that is left of an earlier process, with its elements.
    /// From now on only what is in the sets passes the interface.
    pub(super) fn open(interface: &str) -> Result<Self, GuardFault> {
        let connection = Connection::open().map_err(|error| match error.raw_os_error() {
            Some(code) if Errno::from_raw_os_error(code) == Errno::PERM => GuardFault::NotPermitted,
            _ => GuardFault::Unsupported,
        })?;
        let mut table = Self {
            connection,
            name: table_name(interface)?,
            interface: interface.to_owned(),
            flags: OWNED,
            held: BTreeMap::new(),
            state: State::Open,
        };
        match table.connection.ask(Ask::GetGeneration, |_| ()) {
            Ok(()) => {}
            Err(Trouble::Refused(Errno::PERM)) => return Err(GuardFault::NotPermitted),
            Err(Trouble::Refused(_)) => return Err(GuardFault::Unsupported),
            Err(Trouble::Unanswered) => return Err(GuardFault::Unanswered),
        }
        table.make()?;
        Ok(table)
    }

    /// Lets these networks pass until then, and not longer, whatever they had before.
    pub(super) fn put(&mut self, leases: &[(Interval, Instant)]) -> Result<(), GuardFault> {
        self.is_open()?;
        for chunk in leases.chunks(CHUNK) {
            self.commit("add to the live addresses", |messages, table| {
                elements::put(messages, table, &with_time_left(chunk));
            })?;
            self.held.extend(chunk.iter().copied());
        }
        Ok(())
    }

    /// Lets these networks pass no more.
    pub(super) fn take(&mut self, networks: &[Interval]) -> Result<(), GuardFault> {
        if self.state == State::Unmade {
            return Ok(());
        }
        for chunk in networks.chunks(CHUNK) {
            for network in chunk {
                self.held.remove(network);
            }
            self.commit("delete from the live addresses", |messages, table| {
                elements::take(messages, table, chunk);
            })?;
        }
        Ok(())
    }

    /// Which networks pass, in order.
    pub(super) fn list(&mut self) -> Result<Vec<(Interval, Pass)>, GuardFault> {
        self.is_open()?;
        self.restore_if_missing()?;
        let mut live = Vec::new();
        for set in Set::ALL {
            let name = self.name.clone();
            // The kernel counts what is left from when it says so, which is no earlier.
            let now = SystemClock::new().now().instant;
            let listing = self.connection.dump(Ask::GetElement, |list| {
                elements::of_set(list, &name, set);
            });
            let listing = listing.map_err(|trouble| self.explain("list them", trouble))?;
            let read = elements::read(set, &listing).ok_or(GuardFault::Unanswered)?;
            live.extend(read.into_iter().map(|(net, passing)| {
                let (until, bytes) = (now + passing.left, passing.bytes);
                (net, Pass { until, bytes })
            }));
        }
        // Look-ups in it depend on the order.
        live.sort_unstable_by_key(|(net, _)| *net);
        Ok(live)
    }

    /// Lets nothing pass, now or later.
    pub(super) fn fence(&mut self) -> Result<(), GuardFault> {
        if self.state == State::Unmade {
            return Ok(());
        }
        self.held.clear();
        self.state = State::Fenced;
        self.commit("clear the live addresses", elements::clear)
    }

    /// Takes the table away. Whatever the interface lets through then passes.
    pub(super) fn unmake(&mut self) -> Result<(), GuardFault> {
        let mut messages = self.connection.messages();
        messages.begin();
        rules::unmake(&mut messages, &self.name);
        messages.end();
        match self.connection.transact(&messages) {
            Ok(()) | Err(Trouble::Refused(Errno::NOENT)) => {
                self.state = State::Unmade;
                Ok(())
            }
            Err(trouble) => Err(self.explain("delete the table", trouble)),
        }
    }

    const fn is_open(&self) -> Result<(), GuardFault> {
        match self.state {
            State::Open => Ok(()),
            State::Fenced | State::Unmade => Err(GuardFault::Closed),
        }
    }

    /// Makes what is missing of the table. Where the kernel knows owners, it gets one.
    ///
    /// A process that was killed, or a guard that was dropped, holds the table a moment longer.
    fn make(&mut self) -> Result<(), GuardFault> {
        let mut made = self.make_with(OWNED);
        for _ in 0..HANDOVERS {
            if !matches!(made, Err(Trouble::Refused(Errno::PERM))) {
                break;
            }
            std::thread::sleep(HANDOVER);
            made = self.make_with(OWNED);
        }
        match made {
            Ok(()) => Ok(()),
            Err(Trouble::Refused(Errno::OPNOTSUPP | Errno::INVAL)) => match self.make_with(PLAIN) {
                Ok(()) => Ok(()),
                Err(Trouble::Refused(Errno::OPNOTSUPP | Errno::AFNOSUPPORT)) => {
                    Err(GuardFault::Unsupported)
                }
                Err(trouble) => Err(self.explain("make the table", trouble)),
            },
            Err(Trouble::Refused(Errno::PERM)) => Err(GuardFault::Taken {
                table: self.name.clone(),
            }),
            Err(trouble) => Err(self.explain("make the table", trouble)),
        }
    }

    fn make_with(&mut self, flags: u32) -> Result<(), Trouble> {
        let mut messages = self.connection.messages();
        messages.begin();
        rules::make(&mut messages, &self.name, &self.interface, flags);
        messages.end();
        self.connection.transact(&messages)?;
        self.flags = flags;
        Ok(())
    }

    /// One transaction. An element that runs out, or a table that someone deletes, between two
    /// of its messages makes it fail as a whole; then it is tried again.
    fn commit(
        &mut self,
        doing: &'static str,
        build: impl Fn(&mut Messages, &str),
    ) -> Result<(), GuardFault> {
        let mut tries = 0;
        loop {
            tries += 1;
            let mut messages = self.connection.messages();
            messages.begin();
            build(&mut messages, &self.name);
            messages.end();
            match self.connection.transact(&messages) {
                Ok(()) => return Ok(()),
                Err(Trouble::Refused(Errno::NOENT) | Trouble::Unanswered) if tries < TRIES => {
                    self.restore_if_missing()?;
                }
                Err(trouble) => return Err(self.explain(doing, trouble)),
            }
        }
    }

    /// Makes the table again if someone deleted it, with what it held and still may.
    fn restore_if_missing(&mut self) -> Result<(), GuardFault> {
        let name = &self.name;
        match self
            .connection
            .ask(Ask::GetTable, |table| table.text(IN_TABLE, name))
        {
            Ok(()) => return Ok(()),
            Err(Trouble::Refused(Errno::NOENT)) => {}
            Err(trouble) => return Err(self.explain("show the table", trouble)),
        }
        let table = self.name.clone();
        log::later(move || {
            tracing::warn!(
                table,
                "someone deleted the lease guard's table, and leases were not guarded meanwhile; it is made again"
            );
        });
        self.make()?;
        let held: Vec<_> = self
            .held
            .iter()
            .map(|(net, until)| (*net, *until))
            .collect();
        for chunk in held.chunks(CHUNK) {
            let mut messages = self.connection.messages();
            messages.begin();
            elements::put(&mut messages, &self.name, &with_time_left(chunk));
            messages.end();
            let restored = self.connection.transact(&messages);
            restored.map_err(|trouble| self.explain("restore the live addresses", trouble))?;
        }
        Ok(())
    }

    fn explain(&self, doing: &'static str, trouble: Trouble) -> GuardFault {
        match trouble {
            Trouble::Unanswered => GuardFault::Unanswered,
            Trouble::Refused(code) => GuardFault::Refused {
                doing,
                table: self.name.clone(),
                source: code.into(),
            },
        }
    }
}

/// The table of an interface.
pub(super) fn table_name(interface: &str) -> Result<String, GuardFault> {
    let is_name = (1..=15).contains(&interface.len())
        && !interface.contains(|c: char| c == '/' || c == ':' || c == '\0' || c.is_whitespace())
        && interface != "."
        && interface != "..";
    if !is_name {
        return Err(GuardFault::InterfaceName {
            name: interface.to_owned(),
        });
    }
    Ok(format!("mfagate-{interface}"))
}

fn with_time_left(leases: &[(Interval, Instant)]) -> Vec<(Interval, Duration)> {
    let now = SystemClock::new().now().instant;
    let left = |until: &Instant| until.saturating_since(now);
    leases
        .iter()
        .map(|(net, until)| (*net, left(until)))
        .collect()
}
