//! Many users and peers at once: in one transaction, all of them or none.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{EnrolError, EnrolFault, IssuedToken, Registrar};
use crate::assurance::FactorKind;
use crate::audit::AuditKind;
use crate::id::{GroupId, Label, LocationId, UserId};
use crate::key::PublicKey;
use crate::store::{Peer, Put, StoreError, User};

/// What is to be enrolled of a user: their groups, a peer, a token; each where there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportEntry {
    /// The user, who is added where there is none of that name. A known one stays enabled or
    /// disabled.
    pub user: UserId,
    /// The groups that the user is in from now on; `None` leaves a known user's, and puts a new one
    /// into none.
    pub groups: Option<Vec<GroupId>>,
    /// A new peer of theirs. One without addresses gets the next free ones, where the registrar
    /// knows the gate's ([`Registrar::with_addresses`]).
    pub peer: Option<NewPeer>,
    /// A token with which they enrol a factor of these kinds, or of any where there are none,
    /// within this time.
    pub token: Option<(Vec<FactorKind>, Duration)>,
}

/// A peer to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPeer {
    /// Where.
    pub location: LocationId,
    /// Its key.
    pub key: PublicKey,
    /// A label for people.
    pub label: Label,
    /// Its addresses inside.
    pub addresses: Vec<ipnet::IpNet>,
}

/// What came of one [`ImportEntry`].
#[derive(Debug)]
pub struct ImportedEntry {
    /// The peer, with its addresses.
    pub peer: Option<Peer>,
    /// The token.
    pub token: Option<IssuedToken>,
}

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// These can't be enrolled, so none was: every fault that was found, with the place of its
    /// entry, from 0. Several may be of one.
    #[error("{} faults were found, so nothing was imported", .0.len())]
    Refused(Vec<(usize, EnrolError)>),
    /// The store failed, or the system.
    #[error(transparent)]
    Failed(#[from] EnrolError),
}

impl Registrar {
    /// Enrols users, peers and tokens: all of them in one transaction, or none. A user may be named
    /// more than once, for several peers.
    ///
    /// # Errors
    /// [`ImportError`].
    pub async fn import(&self, all: Vec<ImportEntry>) -> Result<Vec<ImportedEntry>, ImportError> {
        let (batch, imported) = self.prepare(all).await?;
        if !batch.faults.is_empty() {
            return Err(ImportError::Refused(batch.faults));
        }
        let places = batch.places;
        match self.store.put_all(batch.puts).await {
            Ok(()) => Ok(imported),
            // Something came in between since it was looked at.
            Err(StoreError::Refused { faults }) => {
                let placed = faults.into_iter().map(|(n, error)| {
                    let place = places.get(n).copied().unwrap_or_default();
                    (place, error.into())
                });
                Err(ImportError::Refused(placed.collect()))
            }
            Err(error) => Err(ImportError::Failed(error.into())),
        }
    }

    /// Looks for all that [`import`](Self::import) would refuse, and imports nothing.
    ///
    /// # Errors
    /// [`ImportError`].
    pub async fn check_import(&self, all: Vec<ImportEntry>) -> Result<(), ImportError> {
        let (batch, _) = self.prepare(all).await?;
        if batch.faults.is_empty() {
            return Ok(());
        }
        Err(ImportError::Refused(batch.faults))
    }

    async fn prepare(
        &self,
        all: Vec<ImportEntry>,
    ) -> Result<(Batch, Vec<ImportedEntry>), EnrolError> {
        let mut batch = Batch::default();
        let known = self.store.users().await?;
        batch.users = known
            .into_iter()
            .map(|user| (user.id.clone(), user))
            .collect();
        let mut enrolled = Vec::with_capacity(all.len());
        for (place, one) in all.into_iter().enumerate() {
            self.put_imported(&mut batch, place, &one.user, one.groups);
            let peer = match one.peer {
                Some(peer) => self.new_peer(&mut batch, place, &one.user, peer).await?,
                None => None,
            };
            let token =
                one.token.and_then(
                    |(kinds, ttl)| match self.token(&one.user, kinds, ttl, None) {
                        Ok((issued, token, event)) => {
                            batch.put(place, Put::Token(token), event);
                            Some(issued)
                        }
                        Err(error) => {
                            batch.faults.push((place, error));
                            None
                        }
                    },
                );
            enrolled.push(ImportedEntry { peer, token });
        }
        Ok((batch, enrolled))
    }

    /// A user's groups are those of the first place that gives any.
    fn put_imported(
        &self,
        batch: &mut Batch,
        place: usize,
        id: &UserId,
        groups: Option<Vec<GroupId>>,
    ) {
        let known = batch.users.get(id);
        let (enabled, before) = known.map_or((true, None), |user| {
            (user.enabled, Some(user.groups.clone()))
        });
        let given = batch.grouped.get(id);
        if let (Some(given), Some(groups)) = (given, &groups)
            && given != groups
        {
            batch
                .faults
                .push((place, EnrolError(EnrolFault::OtherGroups)));
            return;
        }
        let user = User {
            id: id.clone(),
            enabled,
            groups: groups.clone().or(before.clone()).unwrap_or_default(),
        };
        if before.is_none() {
            let event = self.user_event(AuditKind::UserPut { enabled }, id);
            batch.put(place, Put::User(user.clone()), event);
        }
        // A known user may be disabled while this is prepared: what is put is their groups alone.
        if before.unwrap_or_default() != user.groups {
            let groups = user.groups.clone();
            let kind = AuditKind::GroupsPut {
                groups: groups.clone(),
            };
            let put = Put::Groups(id.clone(), groups);
            batch.put(place, put, self.user_event(kind, id));
        }
        batch
            .grouped
            .extend(groups.map(|groups| (id.clone(), groups)));
        batch.users.insert(id.clone(), user);
    }

    async fn new_peer(
        &self,
        batch: &mut Batch,
        place: usize,
        user: &UserId,
        new: NewPeer,
    ) -> Result<Option<Peer>, EnrolError> {
        if !batch.peers.contains_key(&new.location) {
            let peers = self.store.peers(&new.location).await?;
            batch.peers.insert(new.location.clone(), peers);
        }
        let peers = batch.peers.entry(new.location.clone()).or_default();
        let mut peer = Peer {
            location: new.location,
            key: new.key,
            user: user.clone(),
            allowed_ips: new.addresses,
            label: new.label,
            enabled: true,
        };
        let checked = if peers.iter().any(|known| known.key == peer.key) {
            Err(EnrolFault::KnownPeer)
        } else if peer.allowed_ips.is_empty() {
            let plan = self.addresses.as_ref().ok_or(EnrolFault::NoAddress);
            let free =
                plan.and_then(|plan| plan.next_free(&*peers).ok_or(EnrolFault::NoFreeAddress));
            free.map(|free| peer.allowed_ips = free)
        } else {
            let taken = peers.iter().find_map(|other| {
                let address = peer.overlap(other)?;
                let by = other.key;
                Some(EnrolFault::AddressTaken { address, by })
            });
            self.check_addresses(&peer)
                .and(taken.map_or(Ok(()), |fault| Err(EnrolError(fault))))
                .map_err(|error| error.0)
        };
        if let Err(error) = checked {
            batch.faults.push((place, EnrolError(error)));
            return Ok(None);
        }
        peers.push(peer.clone());
        batch.put(place, Put::Peer(peer.clone()), self.peer_event(&peer));
        Ok(Some(peer))
    }
}

/// What is to be put, and what is known by then.
#[derive(Default)]
struct Batch {
    puts: Vec<(Put, crate::audit::AuditEvent)>,
    /// The place of each of them.
    places: Vec<usize>,
    faults: Vec<(usize, EnrolError)>,
    users: BTreeMap<UserId, User>,
    grouped: BTreeMap<UserId, Vec<GroupId>>,
    peers: BTreeMap<LocationId, Vec<Peer>>,
}

impl Batch {
    fn put(&mut self, place: usize, put: Put, event: crate::audit::AuditEvent) {
        self.puts.push((put, event));
        self.places.push(place);
    }
}
