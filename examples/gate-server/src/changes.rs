//! What the daemon changes on the system: its interface, the rules for it, and whether packets are
//! passed on to other networks. All of it is taken back at the end.
//!
//! Each change is written down before it is made, so that what a killed daemon leaves is known to
//! the next one: that goes on with what it needs, and takes back the rest.

use std::collections::BTreeSet;
use std::error::Error;
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use mfagate_examples::backend::Backend;
use serde::{Deserialize, Serialize};

use crate::settings::{InterfaceSettings, Settings};

const FORWARDING: [&str; 2] = [
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sys/net/ipv6/conf/all/forwarding",
];

/// What is to be taken back, and where it is written down.
pub(crate) struct Changes {
    path: PathBuf,
    record: Record,
}

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    /// Where the changes are: a boot of the machine, and a network namespace.
    place: String,
    changes: BTreeSet<Change>,
    served: Option<ServedInterface>,
}

/// An interface that peers are let on, and that does not go with the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServedInterface {
    pub(crate) name: String,
    pub(crate) backend: Backend,
}

/// One change. They are taken back in this order, so that no one passes unguarded meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Change {
    /// A switch of the kernel's is on that was off.
    Switch(String),
    /// A network interface was made.
    Interface(String),
    /// A table of nftables' was made.
    Table(String),
    /// The lease guard's table of an interface was made.
    Guard(String),
}

impl Changes {
    /// Takes over what a killed daemon left. What this one has no use for is taken back.
    pub(crate) fn resume(settings: &Settings) -> Result<Self, Box<dyn Error>> {
        let (path, record) = (settings.changes(), Record::read(settings)?);
        let mut changes = Self { path, record };
        let wanted = wanted(&settings.interface);
        let is_left = |change: &Change| !wanted.contains(change);
        changes.take_back_where(is_left)?;
        Ok(changes)
    }

    /// The interface, where the daemon makes it, will be there. One that is there already, and not
    /// of a killed daemon's making, stays when this one ends.
    pub(crate) fn interface(
        &mut self,
        interface: &InterfaceSettings,
    ) -> Result<(), Box<dyn Error>> {
        let change = Change::Interface(interface.name.clone());
        if wanted(interface).contains(&change) && !exists(&interface.name)? {
            self.note(change)?;
        }
        Ok(())
    }

    /// Peers will be let on the interface. No peer is on one that was served before.
    pub(crate) fn serve(&mut self, interface: &InterfaceSettings) -> io::Result<()> {
        let ServedInterface { name, backend } = ServedInterface::by(interface);
        let outlives = backend.outlives();
        self.record.served = outlives.then_some(ServedInterface { name, backend });
        self.write()
    }

    /// No peer is on the interface any more.
    pub(crate) fn no_one_is_served(&mut self) -> io::Result<()> {
        self.record.served = None;
        self.write()
    }

    /// The lease guard's table will be there; says whether none was left.
    pub(crate) fn guard(&mut self, interface: &InterfaceSettings) -> io::Result<bool> {
        self.note(Change::Guard(interface.name.clone()))
    }

    /// The lease guard has taken its table away itself, or has made none.
    pub(crate) fn guard_is_closed(&mut self, interface: &InterfaceSettings) -> io::Result<()> {
        let guard = Change::Guard(interface.name.clone());
        self.record.changes.remove(&guard);
        self.write()
    }

    /// Has the system pass packets on between the interface and the rest of its networks, and by
    /// which address.
    pub(crate) fn pass_on(&mut self, interface: &InterfaceSettings) -> Result<(), Box<dyn Error>> {
        if interface.forward {
            for switch in FORWARDING {
                self.switch_on(switch)?;
            }
        }
        if interface.masquerade {
            self.masquerade(&interface.name)?;
        }
        Ok(())
    }

    /// Takes everything back that was changed. Each is tried, whatever becomes of the others.
    pub(crate) fn take_back(&mut self) -> Result<(), Box<dyn Error>> {
        self.take_back_where(|_| true)
    }

    fn take_back_where(
        &mut self,
        is_meant: impl Fn(&Change) -> bool,
    ) -> Result<(), Box<dyn Error>> {
        let mut outcome = Ok(());
        for change in self.record.changes.clone() {
            if !is_meant(&change) {
                continue;
            }
            match change.take_back() {
                Ok(()) => _ = self.record.changes.remove(&change),
                Err(error) => outcome = Err(error),
            }
        }
        self.write()?;
        outcome
    }

    fn switch_on(&mut self, switch: &str) -> Result<(), Box<dyn Error>> {
        let failed = |error| format!("{switch}: {error}; CAP_NET_ADMIN is needed to forward");
        if std::fs::read_to_string(switch).map_err(failed)?.trim() == "0" {
            self.note(Change::Switch(switch.to_owned()))?;
            std::fs::write(switch, "1").map_err(failed)?;
        }
        Ok(())
    }

    /// Replaces a table that a killed daemon left.
    fn masquerade(&mut self, name: &str) -> Result<(), Box<dyn Error>> {
        let table = masquerading_table(name);
        self.note(Change::Table(table.clone()))?;
        nft(&format!(
            "add table inet {table}
delete table inet {table}
table inet {table} {{
    chain postrouting {{
        type nat hook postrouting priority srcnat
        iifname \"{name}\" oifname != \"{name}\" masquerade
    }}
}}
"
        ))
    }

    /// Writes down a change that is about to be made; says whether it is a new one.
    fn note(&mut self, change: Change) -> io::Result<bool> {
        let is_new = self.record.changes.insert(change);
        if is_new {
            self.write()?;
        }
        Ok(is_new)
    }

    fn write(&self) -> io::Result<()> {
        if self.record.changes.is_empty() && self.record.served.is_none() {
            return match std::fs::remove_file(&self.path) {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        let folder = self.path.parent().unwrap_or(std::path::Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&serde_json::to_vec(&self.record)?)?;
        file.as_file().sync_all()?;
        file.persist(&self.path)?;
        Ok(())
    }
}

impl Record {
    /// What is written down, but for what belonged to an earlier boot and went with it.
    fn read(settings: &Settings) -> Result<Self, Box<dyn Error>> {
        let (path, place) = (settings.changes(), place()?);
        let left = match std::fs::read_to_string(&path) {
            Ok(text) => Some(
                serde_json::from_str::<Self>(&text)
                    .map_err(|error| format!("{}: {error}; remove it", path.display()))?,
            ),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(format!("{}: {error}", path.display()).into()),
        };
        let left = left.filter(|left| left.place == place);
        Ok(left.unwrap_or(Self {
            place,
            changes: BTreeSet::new(),
            served: None,
        }))
    }
}

impl ServedInterface {
    /// What these settings have a daemon serve.
    pub(crate) fn by(interface: &InterfaceSettings) -> Self {
        Self {
            name: interface.name.clone(),
            backend: interface.backend,
        }
    }

    /// What the last daemon served and did not clear, as when it was killed.
    ///
    /// # Errors
    /// What it wrote down can't be read.
    pub(crate) fn last(settings: &Settings) -> Result<Option<Self>, Box<dyn Error>> {
        Ok(Record::read(settings)?.served)
    }
}

impl Change {
    fn take_back(&self) -> Result<(), Box<dyn Error>> {
        match self {
            Self::Switch(switch) => std::fs::write(switch, "0")
                .map_err(|error| format!("{switch} stays on: {error}").into()),
            Self::Interface(name) if exists(name)? => {
                let deleted = ip(&["link", "delete", "dev", name])?;
                if !deleted && exists(name)? {
                    return Err(format!("the interface {name} stays: `ip link delete {name}` removes it").into());
                }
                Ok(())
            }
            Self::Interface(_) => Ok(()),
            Self::Table(table) => delete_table(table),
            Self::Guard(name) if exists(name)? => Err(format!(
                "the lease guard of {name} stays, since its peers would pass without it: let a daemon with `lease_guard = true` end it, or take the interface down and run `nft delete table inet {}`",
                guard_table(name)
            )
            .into()),
            Self::Guard(name) => delete_table(&guard_table(name)),
        }
    }
}

/// All that these settings may change.
fn wanted(interface: &InterfaceSettings) -> BTreeSet<Change> {
    let mut wanted = BTreeSet::new();
    let name = &interface.name;
    if interface.backend == Backend::Kernel {
        wanted.insert(Change::Interface(name.clone()));
    }
    if interface.lease_guard {
        wanted.insert(Change::Guard(name.clone()));
    }
    if interface.forward {
        wanted.extend(FORWARDING.map(|switch| Change::Switch(switch.to_owned())));
    }
    if interface.masquerade {
        wanted.insert(Change::Table(masquerading_table(name)));
    }
    wanted
}

/// As the chapter on the lease guard has it.
fn guard_table(name: &str) -> String {
    format!("mfagate-{name}")
}

fn masquerading_table(name: &str) -> String {
    format!("mfagate-{name}-nat")
}

/// This boot of the machine, and this network namespace.
fn place() -> Result<String, Box<dyn Error>> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let network = std::fs::read_link("/proc/self/ns/net")?;
    Ok(format!("{} {}", boot.trim(), network.display()))
}

pub(crate) fn exists(interface: &str) -> Result<bool, Box<dyn Error>> {
    let shown = run_ip(&["link", "show", "dev", interface])?;
    if shown.status.success() {
        return Ok(true);
    }
    // It is told in words only, which are not translated.
    let said = String::from_utf8_lossy(&shown.stderr);
    if said.contains("does not exist") || said.contains("not a valid ifname") {
        return Ok(false);
    }
    Err(format!(
        "`ip link show dev {interface}` does not say whether it exists: {}",
        said.trim()
    )
    .into())
}

/// Takes an interface down: nothing passes it, whatever is on it.
pub(crate) fn take_down(interface: &str) -> Result<(), Box<dyn Error>> {
    if ip(&["link", "set", "dev", interface, "down"])? || !exists(interface)? {
        return Ok(());
    }
    Err(format!("`ip link set dev {interface} down` was refused").into())
}

/// Whether `ip` did as it was told.
fn ip(arguments: &[&str]) -> Result<bool, Box<dyn Error>> {
    Ok(run_ip(arguments)?.status.success())
}

fn run_ip(arguments: &[&str]) -> Result<Output, Box<dyn Error>> {
    let ran = Command::new("ip").args(arguments).output();
    Ok(ran.map_err(|error| format!("ip can't be run (Debian package iproute2): {error}"))?)
}

/// One that is gone is no error. (To add it first would be: a table that its owner left behind is
/// not to be added to.)
fn delete_table(table: &str) -> Result<(), Box<dyn Error>> {
    let mut list = Command::new("nft");
    list.args(["list", "table", "inet", table]);
    let list = list.stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !list.is_ok_and(|listed| listed.success()) {
        return Ok(());
    }
    nft(&format!("delete table inet {table}\n"))
        .map_err(|error| format!("the nftables table {table} stays: {error}").into())
}

fn nft(commands: &str) -> Result<(), Box<dyn Error>> {
    let mut nft = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .map_err(|error| format!("nft can't be run (Debian package nftables): {error}"))?;
    if let Some(mut input) = nft.stdin.take() {
        input.write_all(commands.as_bytes())?;
    }
    if !nft.wait()?.success() {
        return Err("nft refused: CAP_NET_ADMIN is needed".into());
    }
    Ok(())
}
