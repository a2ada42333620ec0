//! Users, devices and factors. None of it needs the daemon, and a running one sees it at once.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;
use ipnet::IpNet;
use mfagate::enrol::EnrolError;
use mfagate::id::{FactorId, UserId};
use mfagate::key::{PrivateKey, PublicKey};
use mfagate::runtime::Profile;
use mfagate::store::Peer;
use mfagate_examples::terminal::Person;

use crate::settings::{self, Settings};

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Add a user, or enable one again.
    Add { user: UserId },
    /// Shut a user out: the sessions end, the devices and factors stay.
    Disable { user: UserId },
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

#[derive(Debug, Subcommand)]
pub(crate) enum FactorCommand {
    /// Enrol an authenticator app, confirmed by its first code.
    AddTotp {
        #[arg(long)]
        user: UserId,
    },
    /// List a user's factors.
    List {
        #[arg(long)]
        user: UserId,
    },
    /// Remove a factor.
    Remove {
        #[arg(long)]
        user: UserId,
        factor: FactorId,
    },
    /// Forget a factor's wrong codes.
    Reset {
        #[arg(long)]
        user: UserId,
        factor: FactorId,
    },
}

pub(crate) async fn user(settings: &Settings, command: UserCommand) -> Result<(), Box<dyn Error>> {
    let (user, enabled) = match command {
        UserCommand::Add { user } => (user, true),
        UserCommand::Disable { user } => (user, false),
    };
    settings.registrar()?.put_user(&user, enabled).await?;
    println!(
        "User {user} is {}.",
        if enabled { "enabled" } else { "disabled" }
    );
    Ok(())
}

pub(crate) async fn peer(settings: &Settings, command: PeerCommand) -> Result<(), Box<dyn Error>> {
    match command {
        PeerCommand::Add {
            user,
            label,
            address,
            out,
        } => add_peer(settings, user, label, address, &out).await,
        PeerCommand::List => {
            for peer in settings.registrar()?.peers(&settings.location).await? {
                let state = if peer.enabled { "enabled" } else { "disabled" };
                println!("{} {} {state} {}", peer.key, peer.user, peer.label);
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
) -> Result<(), Box<dyn Error>> {
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
    println!("Peer {key}: its profile is {}.", out.display());
    Ok(())
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
    Ok(registrar.put_peer(peer).await?)
}

pub(crate) async fn factor(
    settings: &Settings,
    command: FactorCommand,
) -> Result<(), Box<dyn Error>> {
    let registrar = settings.registrar()?;
    match command {
        FactorCommand::AddTotp { user } => add_totp(settings, &user).await,
        FactorCommand::List { user } => {
            for factor in registrar.factors(&user).await? {
                println!(
                    "{} {} {:?} {}",
                    factor.id, factor.kind, factor.state, factor.label
                );
            }
            Ok(())
        }
        FactorCommand::Remove { user, factor } => {
            Ok(registrar.remove_factor(&user, factor).await?)
        }
        FactorCommand::Reset { user, factor } => {
            Ok(registrar.reset_failures(&user, factor).await?)
        }
    }
}

async fn add_totp(settings: &Settings, user: &UserId) -> Result<(), Box<dyn Error>> {
    let registrar = settings.registrar()?;
    let enrolment = registrar
        .begin_totp(user, "app", settings.location.as_str())
        .await?;
    println!(
        "{}\nkey: {}",
        *enrolment.expose_qr()?,
        *enrolment.secret.expose_base32()
    );
    let mut person = Person::new();
    loop {
        let code = person.code("The code it shows: ").await;
        let code = code.ok_or("the factor is not confirmed, so it can't be used")?;
        match registrar.confirm_totp(user, enrolment.factor, code).await {
            Err(error @ (EnrolError::WrongCode | EnrolError::UsedCode)) => eprintln!("  {error}."),
            Err(error) => return Err(error.into()),
            Ok(()) => {
                println!("Factor {} of {user} is active.", enrolment.factor);
                return Ok(());
            }
        }
    }
}
