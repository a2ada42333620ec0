//! Enrolling a device from its key pair to its profile, in one step. The rest of enrolment is in
//! [`enrol`](crate::enrol), which knows no profiles.

use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::assurance::FactorKind;
use crate::channel::message::SecretString;
use crate::client::EnrolRequest;
use crate::enrol::{EnrolError, EnrolFault, ImportEntry, ImportError, NewPeer, Registrar};
use crate::id::{Label, LocationId, UserId};
use crate::key::{PrivateKey, PublicKey};
use crate::runtime::{Endpoint, Onboarding, Profile};
use crate::store::Peer;

/// How often the next free addresses are tried, where others take them first.
const TRIES: u32 = 10;

/// What every profile of a location says: a [`Profile`] without the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileTemplate {
    /// The location's name.
    pub location: LocationId,
    /// The location's WireGuard public key.
    pub location_key: PublicKey,
    /// The control URLs of the location's gates, in the order to try them.
    pub control: Vec<String>,
    /// Where the location's WireGuard listens.
    pub endpoint: Endpoint,
    /// What clients route into the tunnel.
    pub allowed_ips: Vec<IpNet>,
    /// Persistent keepalive, in whole seconds; `None` is off.
    pub keepalive: Option<Duration>,
    /// Resolvers inside the tunnel.
    pub dns: Vec<IpAddr>,
    /// The largest packet inside the tunnel, in bytes; `None` leaves it to the client.
    pub mtu: Option<u16>,
}

impl ProfileTemplate {
    fn profile(&self, private_key: PrivateKey, addresses: Vec<IpNet>) -> Profile {
        Profile {
            location: self.location.clone(),
            location_key: self.location_key,
            control: self.control.clone(),
            endpoint: self.endpoint.clone(),
            private_key,
            addresses,
            allowed_ips: self.allowed_ips.clone(),
            keepalive: self.keepalive,
            dns: self.dns.clone(),
            mtu: self.mtu,
        }
    }
}

/// A [`Registrar`] of one location, which makes profiles for the devices that it enrols. All that a
/// `Registrar` does, it does as well.
///
/// [`Gate::registrar`](super::Gate::registrar) gives that of a gate.
#[derive(Debug, Clone)]
pub struct LocationRegistrar {
    registrar: Registrar,
    template: Option<Arc<ProfileTemplate>>,
}

impl Deref for LocationRegistrar {
    type Target = Registrar;

    fn deref(&self) -> &Registrar {
        &self.registrar
    }
}

impl LocationRegistrar {
    /// A registrar that writes this into profiles.
    pub fn new(registrar: Registrar, template: ProfileTemplate) -> Self {
        Self {
            registrar,
            template: Some(Arc::new(template)),
        }
    }

    /// One that has not been told what a profile says.
    pub(super) const fn without_template(registrar: Registrar) -> Self {
        Self {
            registrar,
            template: None,
        }
    }

    /// Enrols a device of a known user's: makes its key pair and gives its profile, which alone has
    /// the private key. Without addresses it gets the next free ones
    /// ([`Registrar::with_addresses`]).
    ///
    /// # Errors
    /// `enrol-no-template` for a gate that was built without an endpoint;
    /// `enrol-no-free-address` and `enrol-randomness`; else as of
    /// [`put_peer`](Registrar::put_peer), such as for an unknown user.
    pub async fn enrol_device(
        &self,
        user: &UserId,
        label: &Label,
        addresses: &[IpNet],
    ) -> Result<Profile, EnrolError> {
        let template = self.template.as_ref().ok_or(EnrolFault::NoTemplate)?;
        let private_key = PrivateKey::generate().map_err(|_| EnrolFault::Randomness)?;
        for tries in 1.. {
            let allowed_ips = if addresses.is_empty() {
                self.free_addresses(&template.location).await?
            } else {
                addresses.to_vec()
            };
            let peer = Peer {
                location: template.location.clone(),
                key: private_key.public_key(),
                user: user.clone(),
                allowed_ips: allowed_ips.clone(),
                label: label.clone(),
                enabled: true,
            };
            match self.put_peer(peer).await {
                Ok(()) => return Ok(template.profile(private_key, allowed_ips)),
                Err(error) if !is_worth_another_try(&error, addresses, tries) => return Err(error),
                Err(_) => {}
            }
        }
        unreachable!("the last try returns")
    }

    /// Enrols a device as [`enrol_device`](Self::enrol_device) does, and issues a one-time token
    /// with which its user enrols a first factor of this kind, within this time: all that a user
    /// needs to begin, for one file. A user that the store does not know is added, in the same
    /// transaction.
    ///
    /// Give it to [`Client::up`](crate::Client::up) or
    /// [`Client::onboard`](crate::Client::onboard), on the device. A person who has it before
    /// its user does can enrol a factor of their own: hand it over as you would a password.
    ///
    /// # Errors
    /// As of [`enrol_device`](Self::enrol_device) and [`issue_token`](Registrar::issue_token).
    pub async fn onboard(
        &self,
        user: &UserId,
        label: &Label,
        addresses: &[IpNet],
        factor: FactorKind,
        ttl: Duration,
    ) -> Result<Onboarding, EnrolError> {
        let template = self.template.as_ref().ok_or(EnrolFault::NoTemplate)?;
        let private_key = PrivateKey::generate().map_err(|_| EnrolFault::Randomness)?;
        for tries in 1.. {
            let entry = ImportEntry {
                user: user.clone(),
                groups: None,
                peer: Some(NewPeer {
                    location: template.location.clone(),
                    key: private_key.public_key(),
                    label: label.clone(),
                    addresses: addresses.to_vec(),
                }),
                token: Some((vec![factor.clone()], ttl)),
            };
            let imported = self.import(vec![entry]).await.map_err(|error| match error {
                ImportError::Failed(error) => error,
                ImportError::Refused(faults) => {
                    let first = faults.into_iter().next();
                    first.map_or(EnrolError(EnrolFault::NoAddress), |(_, error)| error)
                }
            });
            let imported = match imported {
                Ok(imported) => imported,
                Err(error) if !is_worth_another_try(&error, addresses, tries) => {
                    return Err(error);
                }
                Err(_) => continue,
            };
            let entry = imported.into_iter().next();
            let entry = entry.and_then(|entry| entry.peer.zip(entry.token));
            let (peer, token) = entry.unwrap_or_else(|| unreachable!("one of each was asked for"));
            let label = Label::from_stored(factor.as_str());
            return Ok(Onboarding {
                profile: template.profile(private_key, peer.allowed_ips),
                enrol: Some(EnrolRequest {
                    kind: factor,
                    label,
                    token: SecretString::new(token.expose_text().to_owned()),
                }),
            });
        }
        unreachable!("the last try returns")
    }
}

/// Whether another call took the next free address since it was looked for.
fn is_worth_another_try(error: &EnrolError, addresses: &[IpNet], tries: u32) -> bool {
    let was_taken = matches!(error, EnrolError(EnrolFault::AddressTaken { .. }));
    was_taken && addresses.is_empty() && tries < TRIES
}
