//! The numbers of one client's rules and table, which it has for itself while it runs.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The first table, the first mark and the first priority.
const FIRST: u32 = 10_900;
/// Clients that one network namespace has room for.
pub(super) const SLOTS: u32 = 32;
/// The priorities of each.
const PRIORITIES: u32 = 4;

/// The numbers. A socket in the abstract namespace, which is the network namespace's, says that a
/// process has them: the system takes it back from one that was killed.
#[derive(Debug)]
pub(super) struct RouteNumbers {
    numbers: Numbers,
    _held: UnixDatagram,
}

/// The numbers, no matter who has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Numbers(u32);

impl RouteNumbers {
    /// Takes these numbers. `None` where another process has them.
    pub(super) fn hold(numbers: Numbers) -> Option<Self> {
        let name = format!("mfagate-routes-{}", numbers.0);
        let address = SocketAddr::from_abstract_name(name).ok()?;
        let held = UnixDatagram::bind_addr(&address).ok()?;
        Some(Self {
            numbers,
            _held: held,
        })
    }

    pub(super) const fn numbers(&self) -> Numbers {
        self.numbers
    }
}

impl Numbers {
    pub(super) fn all() -> impl Iterator<Item = Self> {
        (0..SLOTS).map(Self)
    }

    /// The tunnel's table, and the mark of what stays outside.
    pub(super) const fn table(self) -> u32 {
        FIRST + self.0
    }

    pub(super) const fn outside(self) -> u32 {
        FIRST + self.0 * PRIORITIES
    }

    pub(super) const fn closer(self) -> u32 {
        self.outside() + 1
    }

    pub(super) const fn tunnel(self) -> u32 {
        self.outside() + 2
    }

    pub(super) const fn past(self) -> u32 {
        self.outside() + 3
    }

    pub(super) const fn has_priority(self, priority: u32) -> bool {
        self.outside() <= priority && priority <= self.past()
    }
}
