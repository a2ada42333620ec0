//! The whole story in one process, without root: a tunnel that is shut without MFA, opens with a
//! code from an authenticator app, and shuts again on revoke.
//!
//! `cargo run --release --example quickstart` asks you for the codes; with `-- --auto` it plays the
//! authenticator itself and ends with one line of JSON.
#![expect(
    clippy::disallowed_methods,
    reason = "an example measures by the clock of its machine"
)]
#![cfg_attr(
    test,
    expect(clippy::unwrap_used, reason = "a test may stop where it stands")
)]

mod authenticator;
mod folder;
mod network;

use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use mfagate::channel::message::DeniedReason;
use mfagate::client::{AttemptFailure, Client, ConnectError};
use mfagate::gate::Scope;

use authenticator::{Authenticator, Script};
use network::{HandshakeOutcome, Internal, Office, Traffic};

/// How long a packet may still be on its way through this process after the peer is gone.
const IN_FLIGHT: Duration = Duration::from_millis(20);

const USAGE: &str = "\
Shows a tunnel that MFA opens and revocation closes

Usage: quickstart [--auto]

  --auto  Play the authenticator app, and end with one line of JSON";

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Arguments {
    Run { auto: bool },
    Help,
}

impl Arguments {
    /// `None` for a command line that is not understood.
    fn parse(words: &[&str]) -> Option<Self> {
        match words {
            [] => Some(Self::Run { auto: false }),
            ["--auto"] => Some(Self::Run { auto: true }),
            ["--help" | "-h"] => Some(Self::Help),
            _ => None,
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let auto = match Arguments::parse(&words) {
        Some(Arguments::Run { auto }) => auto,
        Some(Arguments::Help) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        None => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(auto).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            mfagate_examples::complain("quickstart", error.as_ref());
            ExitCode::FAILURE
        }
    }
}

async fn run(auto: bool) -> Result<bool, Box<dyn Error>> {
    println!("Setting up an office: a gate, its WireGuard network, and an internal web page.");
    let internal = Internal::start().await?;
    let office = Office::open(&internal).await?;
    let mut authenticator = Authenticator::enrol(&office, auto).await?;

    println!("\nWithout MFA: the laptop has its WireGuard key, and tries.");
    let laptop = office.device("laptop", "10.9.0.2/32").await?;
    let without_mfa = laptop.knock(&office).await?;
    println!("  {}.", without_mfa.in_words());

    println!("\nWith MFA:");
    let client = Client::builder(laptop.profile.clone())
        .interface(laptop.interface())
        .build()?;
    let mut script = Script::new(&mut authenticator);
    let connected = client.connect(&mut script).await?;
    let admitted = script.answered_at.elapsed();
    let wrong_code = script.first_verdict(DeniedReason::Wrong);
    let used = script.last_code.clone();
    println!(
        "  session {} is open for {} minutes",
        connected.session,
        connected.ends_in.as_secs().div_ceil(60)
    );

    let with_mfa = laptop.fetch_page().await?;
    println!("  the internal page answers: {with_mfa}");

    let replayed_code = if auto {
        println!("\nThe same code again, from another device of the same user:");
        let phone = office.device("phone", "10.9.0.3/32").await?;
        let client = Client::builder(phone.profile.clone())
            .interface(phone.interface())
            .build()?;
        let mut replay = Script::replay(used.ok_or("no code was used")?);
        match client.connect(&mut replay).await {
            Ok(_) => "admitted",
            Err(ConnectError::Failed(AttemptFailure::Cancelled)) => {
                replay.first_verdict(DeniedReason::Replayed)
            }
            Err(error) => return Err(error.into()),
        }
    } else {
        "not tried"
    };

    println!("\nRevoking while data flows through the tunnel:");
    let traffic = Traffic::start(&laptop).await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let begun = Instant::now();
    let revoked = office
        .gate
        .revoke(Scope::Peer(laptop.profile.private_key.public_key()))
        .await?;
    let returned = Instant::now();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (echoes, last) = traffic.stop().await;
    let stops = last.saturating_duration_since(returned) <= IN_FLIGHT;
    let reopens = laptop.fetch_page().await.is_ok();
    let after_revoke = if stops && !reopens && echoes > 0 {
        "no traffic"
    } else {
        "traffic"
    };
    println!(
        "  {} session ended in {:.1} ms; {echoes} packets came back before, {after_revoke} after",
        revoked.len(),
        millis(returned - begun)
    );

    drop(client);
    office.gate.shutdown().await;
    if !auto {
        println!("\nThat is all. Next: examples/README.md");
        return Ok(without_mfa == HandshakeOutcome::NoHandshake
            && after_revoke == "no traffic"
            && with_mfa == "200");
    }
    let report = serde_json::json!({
        "without_mfa": without_mfa.in_short(),
        "wrong_code": wrong_code,
        "replayed_code": replayed_code,
        "with_mfa": with_mfa,
        "admit_ms": millis(admitted),
        "after_revoke": after_revoke,
        "revoke_ms": millis(returned - begun),
    });
    println!("{report}");
    Ok(without_mfa == HandshakeOutcome::NoHandshake
        && wrong_code == "denied"
        && replayed_code == "denied"
        && with_mfa == "200"
        && after_revoke == "no traffic"
        && revoked.len() == 1)
}

fn millis(span: Duration) -> f64 {
    (span.as_secs_f64() * 10_000.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_that_is_not_understood_runs_nothing() {
        for (words, auto) in [(&[][..], false), (&["--auto"], true)] {
            assert_eq!(Arguments::parse(words), Some(Arguments::Run { auto }));
        }
        assert_eq!(Arguments::parse(&["--help"]), Some(Arguments::Help));
        for words in [&["--audo"][..], &["--auto", "--auto"], &["auto"], &[""]] {
            assert_eq!(Arguments::parse(words), None, "{words:?}");
        }
    }
}
