//! Users and devices. None of it needs the daemon, and a running one sees it at once.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;
use ipnet::IpNet;
use mfagate::enrol::{EnrolError, Registrar};
use mfagate::id::{GroupId, UserId};
use mfagate::key::{PrivateKey, PublicKey};
use mfagate::runtime::Profile;
use mfagate::store::{FactorRecord, FactorState, Peer, User};
use serde_json::json;

use crate::output::Output;
use crate::sessions;
use crate::settings::{self, Settings};
use crate::target::Target;

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Add a user, or enable one again.
    Add { user: UserId },
    /// Shut a user out: the sessions end, the devices and factors stay.
    Disable { user: UserId },
    /// Put a user into these groups and no others; the policy may have rules for them.
    Groups { user: UserId, groups: Vec<GroupId> },
    /// List the users.
    List,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PeerCommand {
    /// Enrol a device and write its profile, private key included.
    Add {
        #[arg(long)]
        user: UserId,
        #[arg(long)]
        label: String,
        /// The device's address inside, as in 10.9.0.2/32.
        #[arg(long)]
        address: IpNet,
        #[arg(long, default_value = "profile.toml")]
        out: PathBuf,
    },
    /// List the devices.
    List,
    /// Let a device in again.
    Enable { peer: PublicKey },
    /// Shut a device out: its session ends.
    Disable { peer: PublicKey },
}

pub(crate) async fn user(
    settings: &Settings,
    command: UserCommand,
    output: Output,
) -> Result<(), Box<dyn Error>> {
    let (user, enabled) = match command {
        UserCommand::Add { user } => (user, true),
        UserCommand::Disable { user } => (user, false),
        UserCommand::Groups { user, groups } => {
            let registrar = settings.registrar()?;
            registrar.put_groups(&user, groups.clone()).await?;
            sessions::settle(settings, &Target::User(user.clone())).await?;
            let line = json!({"type": "groups", "user": user, "groups": groups});
            output.say(
                format_args!("User {user} is in {}.", in_groups(&groups)),
                &line,
            );
            return Ok(());
        }
        UserCommand::List => {
            for user in settings.registrar()?.users().await? {
                let state = state_of(user.enabled);
                let line =
                    json!({"type": "user", "user": user.id, "state": state, "groups": user.groups});
                let text = format!("{}: {state}, in {}", user.id, in_groups(&user.groups));
                output.say(text, &line);
            }
            return Ok(());
        }
    };
    settings.registrar()?.put_user(&user, enabled).await?;
    if !enabled {
        sessions::settle(settings, &Target::User(user.clone())).await?;
    }
    let state = state_of(enabled);
    let line = json!({"type": "user", "user": user, "state": state});
    output.say(format_args!("User {user} is {state}."), &line);
    Ok(())
}

/// A user, and the factors that they can use; `None` where there is no such user.
pub(crate) async fn usable(
    registrar: &Registrar,
    user: &UserId,
) -> Result<Option<(User, Vec<FactorRecord>)>, EnrolError> {
    let mut users = registrar.users().await?.into_iter();
    let Some(known) = users.find(|known| known.id == *user) else {
        return Ok(None);
    };
    let mut factors = registrar.factors(user).await?;
    factors.retain(|factor| factor.state == FactorState::Active);
    Ok(Some((known, factors)))
}

const fn state_of(enabled: bool) -> &'static str {
    if enabled { "enabled" } else { "disabled" }
}

fn in_groups(groups: &[GroupId]) -> String {
    if groups.is_empty() {
        return "no group".to_owned();
    }
    let names: Vec<_> = groups.iter().map(GroupId::as_str).collect();
    names.join(", ")
}

pub(crate) async fn peer(
    settings: &Settings,
    command: PeerCommand,
    output: Output,
) -> Result<(), Box<dyn Error>> {
    match command {
        PeerCommand::Add {
            user,
            label,
            address,
            out,
        } => {
            let key = add_peer(settings, user, label, address, &out).await?;
            let line = json!({"type": "peer", "peer": key, "profile": out});
            let text = format!("Peer {key}: its profile is {}.", out.display());
            output.say(text, &line);
            Ok(())
        }
        PeerCommand::List => {
            for peer in settings.registrar()?.peers(&settings.location).await? {
                let state = state_of(peer.enabled);
                let Peer {
                    key, user, label, ..
                } = &peer;
                let line = json!({
                    "type": "peer",
                    "peer": key,
                    "user": user,
                    "state": state,
                    "label": label,
                });
                output.say(format_args!("{key} {user} {state} {label}"), &line);
            }
            Ok(())
        }
        PeerCommand::Enable { peer } => switch_peer(settings, peer, true).await,
        PeerCommand::Disable { peer } => switch_peer(settings, peer, false).await,
    }
}

/// Writes the profile first: without its enrolment it opens nothing, so that whatever breaks off
/// leaves no device that nobody has the key of.
async fn add_peer(
    settings: &Settings,
    user: UserId,
    label: String,
    address: IpNet,
    out: &Path,
) -> Result<PublicKey, Box<dyn Error>> {
    let private_key = PrivateKey::generate()?;
    let key = private_key.public_key();
    let profile = Profile {
        location: settings.location.clone(),
        location_key: settings.key()?.public_key(),
        control: vec![settings.control_url.clone()],
        endpoint: settings.endpoint.clone(),
        private_key,
        addresses: vec![address],
        allowed_ips: settings.networks.clone(),
        keepalive: settings
            .keepalive
            .map(|seconds| Duration::from_secs(seconds.into())),
        dns: settings.dns.clone(),
        mtu: settings.mtu,
    };
    let peer = Peer {
        location: settings.location.clone(),
        key,
        user,
        allowed_ips: vec![address],
        label,
        enabled: true,
    };
    let registrar = settings.registrar()?;
    settings::write_new(out, &profile.expose_toml())?;
    if let Err(error) = registrar.put_peer(peer).await {
        std::fs::remove_file(out)?;
        return Err(error.into());
    }
    Ok(key)
}

async fn switch_peer(
    settings: &Settings,
    key: PublicKey,
    enabled: bool,
) -> Result<(), Box<dyn Error>> {
    let registrar = settings.registrar()?;
    let peers = registrar.peers(&settings.location).await?;
    let mut peer = peers
        .into_iter()
        .find(|peer| peer.key == key)
        .ok_or_else(|| format!("no peer {key} is enrolled: `peer list` shows which are"))?;
    peer.enabled = enabled;
    registrar.put_peer(peer).await?;
    if !enabled {
        sessions::settle(settings, &Target::Peer(key)).await?;
    }
    Ok(())
}
