//! Users and devices. None of it needs the daemon, and a running one sees it at once.

use std::error::Error;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use ipnet::IpNet;
use mfagate::client::Profile;
use mfagate::code::ErrorCode;
use mfagate::enrol::{EnrolError, Registrar};
use mfagate::id::{GroupId, Label, UserId};
use mfagate::key::{PrivateKey, PublicKey};
use mfagate::store::{FactorRecord, FactorState, Peer, User};
use serde_json::json;

use crate::output::Output;
use crate::revoke_args::Target;
use crate::sessions;
use crate::settings::{self, Settings};

/// How often the next free addresses are tried, where others take them first.
const TRIES: u32 = 10;

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Add a user, or enable one again.
    Add { user: UserId },
    /// Let a user in again.
    Enable { user: UserId },
    /// Shut a user out: the sessions end, the devices and factors stay. Returns when they are out.
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
        label: Label,
        /// An address of the device inside, as in 10.9.0.2; several if given more than once. The
        /// next free ones without.
        #[arg(long = "address", value_parser = address)]
        addresses: Vec<IpNet>,
        /// Even if an address is outside the gate's networks, as of a site behind the device.
        #[arg(long)]
        even_outside: bool,
        #[arg(long, default_value = "profile.toml")]
        out: PathBuf,
    },
    /// List the devices.
    List,
    /// Let a device in again.
    Enable { peer: PublicKey },
    /// Shut a device out: its session ends. Returns when it is out.
    Disable { peer: PublicKey },
}

pub(crate) async fn user(
    settings: &Settings,
    command: UserCommand,
    output: Output,
) -> Result<(), Box<dyn Error>> {
    let registrar = settings.registrar()?;
    let (user, enabled) = match command {
        UserCommand::Add { user } => (user, true),
        UserCommand::Enable { user } => {
            known(&registrar, &user).await?;
            (user, true)
        }
        UserCommand::Disable { user } => {
            known(&registrar, &user).await?;
            (user, false)
        }
        UserCommand::Groups { user, groups } => {
            known(&registrar, &user).await?;
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
            for user in registrar.users().await? {
                let state = state_of(user.enabled);
                let line =
                    json!({"type": "user", "user": user.id, "state": state, "groups": user.groups});
                let text = format!("{}: {state}, in {}", user.id, in_groups(&user.groups));
                output.say(text, &line);
            }
            return Ok(());
        }
    };
    registrar.put_user(&user, enabled).await?;
    if !enabled {
        sessions::settle(settings, &Target::User(user.clone())).await?;
    }
    let state = state_of(enabled);
    let line = json!({"type": "user", "user": user, "state": state});
    output.say(format_args!("User {user} is {state}."), &line);
    Ok(())
}

/// An error for a user that there is not, whose name was mistyped.
pub(crate) async fn known(registrar: &Registrar, user: &UserId) -> Result<(), Box<dyn Error>> {
    let users = registrar.users().await?;
    if users.iter().any(|known| known.id == *user) {
        return Ok(());
    }
    Err(format!("no user {user}: `user list` shows which there are").into())
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
            addresses,
            even_outside,
            out,
        } => {
            let plan = settings.address_plan();
            let plan = plan.with_networks(addresses.iter().copied().filter(|_| even_outside));
            let registrar = settings.registrar()?.with_addresses(plan);
            let new = Peer {
                location: settings.location.clone(),
                key: PublicKey::from_bytes([0; 32]),
                user,
                allowed_ips: addresses,
                label,
                enabled: true,
            };
            let peer = add_peer(settings, &registrar, new, &out).await?;
            let (key, addresses) = (peer.key, in_a_row(&peer.allowed_ips));
            let line = json!({
                "type": "peer",
                "peer": key,
                "addresses": peer.allowed_ips,
                "profile": out,
            });
            let text = format!(
                "Peer {key} at {addresses}: its profile is {}.",
                out.display()
            );
            output.say(text, &line);
            Ok(())
        }
        PeerCommand::List => {
            for peer in settings.registrar()?.peers(&settings.location).await? {
                let state = state_of(peer.enabled);
                let Peer {
                    key, user, label, ..
                } = &peer;
                let addresses = in_a_row(&peer.allowed_ips);
                let line = json!({
                    "type": "peer",
                    "peer": key,
                    "user": user,
                    "state": state,
                    "addresses": peer.allowed_ips,
                    "label": label,
                });
                output.say(
                    format_args!("{key} {user} {state} {addresses} {label}"),
                    &line,
                );
            }
            Ok(())
        }
        PeerCommand::Enable { peer } => switch_peer(settings, peer, true, output).await,
        PeerCommand::Disable { peer } => switch_peer(settings, peer, false, output).await,
    }
}

/// Reads an address or a prefix: `10.9.0.2` is that host alone.
pub(crate) fn address(text: &str) -> Result<IpNet, String> {
    let host = text.parse::<IpAddr>().map(IpNet::from);
    host.or_else(|_| text.parse()).map_err(|_| {
        format!("{text} is neither an address, such as 10.9.0.2 or fd09::2, nor a prefix, such as 10.9.0.16/28")
    })
}

pub(crate) fn in_a_row(addresses: &[IpNet]) -> String {
    let addresses: Vec<_> = addresses.iter().map(IpNet::to_string).collect();
    addresses.join(",")
}

/// Enrols a device at the next free addresses where it has none. Another command may take them
/// first: then the next ones are.
async fn add_peer(
    settings: &Settings,
    registrar: &Registrar,
    new: Peer,
    out: &Path,
) -> Result<Peer, Box<dyn Error>> {
    if !new.allowed_ips.is_empty() {
        return add_peer_at(settings, registrar, new, out)
            .await
            .map_err(in_words);
    }
    let mut tries = 0;
    loop {
        let free = registrar.free_addresses(&settings.location).await?;
        let peer = Peer {
            allowed_ips: free,
            ..new.clone()
        };
        tries += 1;
        match add_peer_at(settings, registrar, peer, out).await {
            Err(AddError::Enrol(error))
                if error.code() == "enrol-address-taken" && tries < TRIES => {}
            added => return added.map_err(in_words),
        }
    }
}

/// Why a device was not added.
enum AddError {
    Enrol(EnrolError),
    Other(Box<dyn Error>),
}

fn in_words(error: AddError) -> Box<dyn Error> {
    match error {
        AddError::Enrol(error) if error.code() == "address-outside" => {
            format!("{error}: --even-outside").into()
        }
        AddError::Enrol(error) => error.into(),
        AddError::Other(error) => error,
    }
}

/// Writes the profile first: without its enrolment it opens nothing, so that whatever breaks off
/// leaves no device without a profile.
async fn add_peer_at(
    settings: &Settings,
    registrar: &Registrar,
    new: Peer,
    out: &Path,
) -> Result<Peer, AddError> {
    let other = |error: Box<dyn Error>| AddError::Other(error);
    let private_key = PrivateKey::generate().map_err(|error| other(error.into()))?;
    let key = private_key.public_key();
    let template = settings.profile_template().map_err(other)?;
    let profile = Profile {
        location: template.location,
        location_key: template.location_key,
        control: template.control,
        endpoint: template.endpoint,
        private_key,
        addresses: new.allowed_ips.clone(),
        allowed_ips: template.allowed_ips,
        keepalive: template.keepalive,
        dns: template.dns,
        mtu: template.mtu,
    };
    let peer = Peer { key, ..new };
    settings::write_new(out, &profile.expose_toml()).map_err(other)?;
    if let Err(error) = registrar.put_peer(peer.clone()).await {
        std::fs::remove_file(out).map_err(|error| other(error.into()))?;
        return Err(AddError::Enrol(error));
    }
    Ok(peer)
}

async fn switch_peer(
    settings: &Settings,
    key: PublicKey,
    enabled: bool,
    output: Output,
) -> Result<(), Box<dyn Error>> {
    let registrar = settings.registrar()?;
    let changed = registrar.enable_peer(&settings.location, &key, enabled);
    match changed.await {
        Err(error) if error.code() == "enrol-no-peer" => {
            return Err(format!("no peer {key} is enrolled: `peer list` shows which are").into());
        }
        changed => changed?,
    }
    if !enabled {
        sessions::settle(settings, &Target::Peer(key)).await?;
    }
    let state = state_of(enabled);
    let line = json!({"type": "peer", "peer": key, "state": state});
    output.say(format_args!("Peer {key} is {state}."), &line);
    Ok(())
}
