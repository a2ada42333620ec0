//! All that a user needs to begin, in one file: a device's profile, and a one-time token with which
//! `connect` enrols a first factor before it signs in.

use std::error::Error;
use std::path::PathBuf;

use clap::Args;
use ipnet::IpNet;
use mfagate::assurance::FactorKind;
use mfagate::client::Onboarding;
use mfagate::gate::LocationRegistrar;
use mfagate::id::{Label, UserId};
use serde_json::json;

use crate::enrolment::{address, in_a_row};
use crate::output::Output;
use crate::settings::{NewFile, Settings};
use crate::token;

#[derive(Debug, Args)]
pub(crate) struct Onboard {
    /// User, who is added if there is none of this name.
    user: UserId,
    /// Label of the device.
    #[arg(long)]
    device: Label,
    /// Kind of factor that the user enrols (default: the first that the policy names).
    #[arg(long, value_parser = token::kind)]
    kind: Option<FactorKind>,
    /// An address of the device inside, as in 10.9.0.2; several if given more than once. The next
    /// free ones without.
    #[arg(long = "address", value_parser = address)]
    addresses: Vec<IpNet>,
    /// How long the file can be used to enrol.
    #[arg(long, default_value = "1day")]
    ttl: humantime::Duration,
    /// File to write.
    #[arg(long, default_value = "onboarding.toml")]
    out: PathBuf,
}

pub(crate) async fn onboard(
    settings: &Settings,
    new: Onboard,
    output: Output,
) -> Result<(), Box<dyn Error>> {
    let registrar = settings.registrar()?;
    let users = registrar.users().await?;
    let (user, out) = (&new.user, new.out.display());
    if users
        .iter()
        .any(|known| known.id == *user && !known.enabled)
    {
        return Err(format!("user {user} is disabled: `user enable {user}` first").into());
    }
    let first = settings.policy.steps.iter().flat_map(|step| step.kinds());
    let kind = new.kind.or_else(|| first.into_iter().next().cloned());
    let kind = kind.ok_or("the policy names no factor: choose one with --kind")?;

    let registrar = LocationRegistrar::new(registrar, settings.profile_template()?);
    // Before the enrolment, so that a file that can't be written leaves no device behind.
    let file = NewFile::create(&new.out)?;
    let begun = registrar.onboard(user, &new.device, &new.addresses, kind.clone(), *new.ttl);
    let start = begun.await?;
    let peer = start.profile.private_key.public_key();
    if let Err(error) = file.write(&start.expose_toml()) {
        // No one has its key, and the token ends by itself.
        registrar
            .enable_peer(&settings.location, &peer, false)
            .await?;
        return Err(error);
    }
    let Onboarding { profile, .. } = start;
    let addresses = in_a_row(&profile.addresses);
    let line = json!({
        "type": "onboarding",
        "user": user,
        "peer": peer,
        "addresses": profile.addresses,
        "kind": kind,
        "file": new.out,
    });
    let text = format!(
        "Peer {peer} of {user} at {addresses}. Within {}, `connect {out}` on the device enrols a factor ({kind}) and connects. \
         Hand {out} over as you would a password: who has it first can do the same.",
        new.ttl
    );
    output.say(text, &line);
    Ok(())
}
