//! Whether the system passes packets on between the interface and the rest of its networks, and
//! by which address. What was changed is taken back at the end.

use std::error::Error;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::settings::OnTheSystem;

const FORWARDING: [&str; 2] = [
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sys/net/ipv6/conf/all/forwarding",
];

/// What is to be taken back.
#[derive(Default)]
pub(crate) struct Passing {
    /// Switches that were off.
    switched: Vec<&'static str>,
    table: Option<String>,
}

impl Passing {
    pub(crate) fn begin(interface: &OnTheSystem) -> Result<Self, Box<dyn Error>> {
        let mut passing = Self::default();
        if interface.forward {
            for switch in FORWARDING {
                passing.switch_on(switch)?;
            }
        }
        if interface.masquerade {
            passing.masquerade(&interface.name)?;
        }
        Ok(passing)
    }

    fn switch_on(&mut self, switch: &'static str) -> Result<(), Box<dyn Error>> {
        let failed = |error| format!("{switch}: {error}; CAP_NET_ADMIN is needed to forward");
        if std::fs::read_to_string(switch).map_err(failed)?.trim() == "0" {
            std::fs::write(switch, "1").map_err(failed)?;
            self.switched.push(switch);
        }
        Ok(())
    }

    /// Replaces a table that a killed daemon left.
    fn masquerade(&mut self, name: &str) -> Result<(), Box<dyn Error>> {
        let table = format!("mfagate-{name}-nat");
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
        ))?;
        self.table = Some(table);
        Ok(())
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        for switch in &self.switched {
            if let Err(error) = std::fs::write(switch, "0") {
                eprintln!("gate-server: {switch} stays on: {error}");
            }
        }
        if let Some(table) = &self.table
            && let Err(error) = nft(&format!("delete table inet {table}\n"))
        {
            eprintln!("gate-server: the nftables table {table} stays: {error}");
        }
    }
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
    let status = nft.wait()?;
    if !status.success() {
        return Err("nft refused the masquerading rules: CAP_NET_ADMIN is needed".into());
    }
    Ok(())
}
