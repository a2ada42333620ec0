#![doc = include_str!("docs.md")]

#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod protocol;
mod reserve;
mod served_link;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::shutdown_state::ShutdownState;
use super::{Activity, InterfaceBackend, InterfaceError, PeerConfig};
use crate::key::{PrivateKey, PublicKey};
use crate::time::{Clock, SystemClock};
use protocol::Device;
use reserve::Reserve;
use served_link::{Found, ServedLink, is_link_there, is_served, take_down, take_up};

/// Where WireGuard programs put their sockets.
const FOLDER: &str = "/var/run/wireguard";

/// What keeps a renewed peer's path open: the figure that WireGuard's own documentation names.
const KEEPALIVE: Duration = Duration::from_secs(25);

/// How long a program may take to answer, unless told otherwise.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a program may take to remove its peers before that counts as not done.
const FENCE: Duration = Duration::from_secs(2);

/// A WireGuard interface that another program runs and that is configured over a socket. A cheap
/// handle: clones share it.
#[derive(Debug, Clone)]
pub struct Uapi {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    socket: PathBuf,
    renews_in_place: bool,
    believes_removals: bool,
    /// Where the network interface is, if this process saw it at the start: sockets are the whole
    /// machine's, but interfaces are a network namespace's.
    place: Option<ServedLink>,
    /// For requests that must be sent when the process has no file descriptors left.
    reserve: Reserve,
    /// What the program must say that it has: one that was started again may have none, or another.
    key: PublicKey,
    patience: Duration,
    /// Held by the exchange that is under way.
    turn: Arc<Mutex<()>>,
    stage: ShutdownState,
}

/// Which interface, and what is known of the program behind it.
#[derive(Debug)]
pub struct UapiBuilder {
    name: String,
    socket: PathBuf,
    renews_in_place: bool,
    believes_removals: bool,
    stays_down: bool,
    mtu: Option<u16>,
    patience: Duration,
}

impl Uapi {
    /// Begins with the interface's name. Its socket is looked for where WireGuard programs put
    /// them: `/var/run/wireguard/<name>.sock`.
    pub fn builder(name: impl Into<String>) -> UapiBuilder {
        let name = name.into();
        UapiBuilder {
            socket: Path::new(FOLDER).join(format!("{name}.sock")),
            name,
            renews_in_place: false,
            believes_removals: false,
            stays_down: false,
            mtu: None,
            patience: PATIENCE,
        }
    }

    /// Sends one request over a connection of its own; gives the response. Requests are sent one
    /// after the other, in the order in which they were asked for, even when the caller has
    /// given up: what a dropped call still does, the program has answered before the next is sent.
    async fn ask(
        &self,
        request: Zeroizing<String>,
        check: fn(&ShutdownState) -> Result<(), InterfaceError>,
    ) -> Result<Zeroizing<Vec<u8>>, InterfaceError> {
        let Shared {
            socket, patience, ..
        } = &*self.shared;
        let answer = tokio::time::timeout(*patience, self.take_turn(request, check)).await;
        answer.unwrap_or_else(|_| Err(backend(unanswered(socket, *patience))))
    }

    async fn take_turn(
        &self,
        request: Zeroizing<String>,
        check: fn(&ShutdownState) -> Result<(), InterfaceError>,
    ) -> Result<Zeroizing<Vec<u8>>, InterfaceError> {
        let turn = Arc::clone(&self.shared.turn).lock_owned().await;
        check(&self.shared.stage)?;
        let shared = Arc::clone(&self.shared);
        let exchange = tokio::spawn(async move {
            let response = exchange(&shared.socket, &shared.reserve, &request).await;
            drop(turn);
            response
        });
        exchange.await.map_err(backend)?.map_err(backend)
    }

    async fn device(&self) -> Result<Device, InterfaceError> {
        let response = self
            .ask(fixed(protocol::GET), ShutdownState::check_up)
            .await?;
        protocol::parse(&response).map_err(backend)
    }

    /// Lets a peer on, or changes it. Requests hold one peer each: some programs let the next peer
    /// of a request inherit from the one before.
    async fn put(&self, request: Zeroizing<String>) -> Result<(), InterfaceError> {
        let response = self.ask(request, ShutdownState::check_open).await?;
        protocol::check(&response).map_err(backend)
    }

    /// Takes peers off.
    async fn take(&self, request: Zeroizing<String>) -> Result<(), InterfaceError> {
        let response = self.ask(request, ShutdownState::check_up).await?;
        protocol::check(&response).map_err(backend)
    }

    /// Who is there. Nothing else that the program says of a peer makes this fail.
    async fn keys(&self) -> Result<Vec<PublicKey>, InterfaceError> {
        let response = self
            .ask(fixed(protocol::GET), ShutdownState::check_up)
            .await?;
        protocol::parse_keys(&response).map_err(backend)
    }

    /// Removes every peer, and reads back that none is left.
    async fn empty(&self) -> Result<(), InterfaceError> {
        self.take(fixed(protocol::EMPTY)).await?;
        if self.keys().await?.is_empty() {
            Ok(())
        } else {
            Err(backend(UapiFault::Unremoved))
        }
    }

    /// Takes an interface up that is down. From one that is down everybody goes first.
    async fn come_up(&self) -> Result<(), UapiFault> {
        let failed = |source| UapiFault::Down {
            name: self.shared.name.clone(),
            source,
        };
        if served_link::is_down(&self.shared).await {
            self.empty().await.map_err(failed)?;
            take_up(&self.shared).await.map_err(failed)?;
        }
        Ok(())
    }

    /// Whether there is nothing that a packet could pass: a program's interface goes with it, and
    /// its socket no longer answers.
    async fn is_nothing(&self) -> bool {
        self.shared.place.is_some()
            && matches!(is_link_there(&self.shared).await, Ok(false))
            && !is_served(&self.shared.socket, &self.shared.reserve).await
    }

    /// What an interface says that was there, and can't be read: it may be away.
    async fn unless_away(&self, error: InterfaceError) -> InterfaceError {
        let is_failure = matches!(error, InterfaceError::Backend(_));
        if is_failure && !is_served(&self.shared.socket, &self.shared.reserve).await {
            return InterfaceError::Away;
        }
        error
    }

    async fn remove_one(&self, peer: &PublicKey) -> Result<(), InterfaceError> {
        self.take(Zeroizing::new(protocol::remove(peer))).await
    }
}

impl UapiBuilder {
    /// The socket, where it is elsewhere.
    #[must_use]
    pub fn socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.socket = path.into();
        self
    }

    /// How long the program may take to answer one request, with the wait for those before it. A
    /// call that takes longer fails; later ones wait until the program has answered, or has ended.
    /// Without it: 5 seconds.
    #[must_use]
    pub const fn patience(mut self, limit: Duration) -> Self {
        self.patience = limit;
        self
    }

    /// Says that the program changes an installed peer without harm, as wireguard-go does, so that
    /// a renewal leaves the traffic alone. Without it a renewed peer is removed and added, because
    /// boringtun 0.7 dies of such a change; its traffic then waits for a new handshake, for five
    /// seconds as a rule: the first one comes before the client knows the new key.
    #[must_use]
    pub const fn renews_in_place(mut self) -> Self {
        self.renews_in_place = true;
        self
    }

    /// Takes the program's word for it that a peer is removed, instead of reading all peers back,
    /// which takes longer the more there are. wireguard-go is to be believed: it answers once it
    /// has stopped the peer and dropped its keys. A program that answers before, or in any case,
    /// leaves ended sessions running.
    #[must_use]
    pub const fn danger_believe_removals(mut self) -> Self {
        self.believes_removals = true;
        self
    }

    /// Leaves an interface that is down as it is: so that its peers can be taken off, and not
    /// to serve it.
    #[must_use]
    pub const fn stays_down(mut self) -> Self {
        self.stays_down = true;
        self
    }

    /// The largest packet that may pass, in bytes. The interface's MTU is its program's to set, and
    /// one with a larger one, in this network namespace, is refused: what is longer would be lost
    /// on the way without a word.
    #[must_use]
    pub const fn mtu(mut self, mtu: u16) -> Self {
        self.mtu = Some(mtu);
        self
    }

    /// Reaches the interface, and checks that it has this private key. One that is down, as a
    /// [`fence`](InterfaceBackend::fence) leaves it, comes up without its peers, where it is in
    /// this network namespace: it may have been taken down to shut them out.
    ///
    /// # Errors
    /// [`UapiError`].
    pub async fn build(self, key: &PrivateKey) -> Result<Uapi, UapiError> {
        let reserve = Reserve::new();
        let response = exchange(&self.socket, &reserve, protocol::GET);
        let response = tokio::time::timeout(self.patience, response).await;
        let response = response.map_err(|_| unanswered(&self.socket, self.patience))??;
        let device = protocol::parse(&response)?;
        if device.public_key != Some(key.public_key()) {
            return Err(UapiError(UapiFault::OtherKey { name: self.name }));
        }
        let uapi = Uapi {
            shared: Arc::new(Shared {
                place: ServedLink::find(&self.name, &self.socket).await,
                reserve,
                key: key.public_key(),
                name: self.name,
                socket: self.socket,
                renews_in_place: self.renews_in_place,
                believes_removals: self.believes_removals,
                patience: self.patience,
                turn: Arc::default(),
                stage: ShutdownState::default(),
            }),
        };
        if let Some(most) = self.mtu
            && let Some(has) = served_link::mtu(&uapi.shared).await
            && has > u32::from(most)
        {
            let name = uapi.shared.name.clone();
            return Err(UapiError(UapiFault::Mtu { name, has, most }));
        }
        if !self.stays_down {
            uapi.come_up().await?;
        }
        Ok(uapi)
    }
}

#[async_trait]
impl InterfaceBackend for Uapi {
    /// Removes and adds each peer: nothing is inherited, and boringtun bears no other way.
    async fn install(&self, peers: Vec<PeerConfig>) -> Result<(), InterfaceError> {
        for peer in &peers {
            self.remove_one(&peer.key).await?;
            self.put(protocol::add(peer)).await?;
        }
        Ok(())
    }

    async fn renew(&self, peers: Vec<PeerConfig>) -> Result<(), InterfaceError> {
        let device = self.device().await?;
        for mut peer in peers {
            let known = device.find(&peer.key);
            if known.is_some_and(|known| !is_changed(&known.config, &peer)) {
                continue; // as when its lease alone is another
            }
            if known.is_some() && self.shared.renews_in_place {
                self.put(protocol::update(&peer)).await?;
                continue;
            }
            // The client believes in its old session until it hears otherwise. With the endpoint
            // that it had and a keepalive, the interface begins the new handshake by itself.
            let endpoint = known.and_then(|known| known.config.endpoint);
            peer.endpoint = peer.endpoint.or(endpoint);
            peer.keepalive = peer.keepalive.or(Some(KEEPALIVE));
            self.install(vec![peer]).await?;
        }
        Ok(())
    }

    /// Reads back that the peers are gone: what a program answers is not proof enough, unless the
    /// embedder says so.
    async fn remove(&self, peers: &[PublicKey]) -> Result<(), InterfaceError> {
        if self.shared.stage.is_down() {
            return Ok(());
        }
        let removed = self.remove_all(peers).await;
        if removed.is_err() && self.is_nothing().await {
            return Ok(());
        }
        removed
    }

    /// Of a program that was started again, the interface is away until it has the gate's key again.
    async fn list(&self) -> Result<Vec<PeerConfig>, InterfaceError> {
        let device = match self.device().await {
            Ok(device) => device,
            Err(error) => return Err(self.unless_away(error).await),
        };
        let is_ours = device.public_key == Some(self.shared.key);
        // It may have been moved to another namespace, or deleted under a program that goes on.
        let was_here = self.shared.place.is_some();
        let is_taken = was_here && matches!(is_link_there(&self.shared).await, Ok(false));
        if !is_ours || is_taken {
            return Err(InterfaceError::Away);
        }
        Ok(device.peers.into_iter().map(|peer| peer.config).collect())
    }

    async fn activity(&self, peers: &[PublicKey]) -> Result<Vec<Activity>, InterfaceError> {
        let device = self.device().await?;
        let now = SystemClock::new().now().timestamp;
        let seen = peers.iter().filter_map(|peer| device.activity(peer, now));
        Ok(seen.collect())
    }

    /// Removes every peer and, where this process may, takes the interface down. Neither waits for
    /// the other: a program that hangs, or whose socket is gone, may pass packets anyway.
    ///
    /// An interface that this process did not see when it was built, as one of another network
    /// namespace, can't be taken down: the program must then do its part.
    async fn fence(&self) -> Result<(), InterfaceError> {
        let Shared {
            stage,
            socket,
            name,
            reserve,
            ..
        } = &*self.shared;
        if stage.is_down() {
            return Ok(());
        }
        stage.close();
        let emptied = tokio::time::timeout(FENCE, self.empty());
        let (downed, emptied) = tokio::join!(take_down(&self.shared), emptied);
        // Either is enough: without peers, or down, it passes nothing.
        if !matches!(emptied, Ok(Ok(()))) {
            let found = downed?;
            // One that is in no place here may have been moved to another, by a program that lives.
            if found == Found::Nothing && is_served(socket, reserve).await {
                let name = name.clone();
                return Err(backend(UapiFault::Elsewhere { name }));
            }
        }
        stage.go_down();
        Ok(())
    }

    fn outlives_process(&self) -> bool {
        true
    }
}

impl Uapi {
    async fn remove_all(&self, peers: &[PublicKey]) -> Result<(), InterfaceError> {
        for peer in peers {
            self.remove_one(peer).await?;
        }
        if self.shared.believes_removals {
            return Ok(());
        }
        let left = self.keys().await?;
        if peers.iter().any(|peer| left.contains(peer)) {
            return Err(backend(UapiFault::Unremoved));
        }
        Ok(())
    }
}

/// Whether a peer that is there would be another by this.
fn is_changed(there: &PeerConfig, to: &PeerConfig) -> bool {
    !there.admits_as(to)
        || to.endpoint.is_some() && to.endpoint != there.endpoint
        || to.keepalive.is_some() && to.keepalive != there.keepalive
}

/// A request without a secret.
fn fixed(request: &str) -> Zeroizing<String> {
    Zeroizing::new(request.to_owned())
}

fn unanswered(socket: &Path, limit: Duration) -> UapiFault {
    UapiFault::Unanswered {
        socket: socket.to_owned(),
        limit,
    }
}

fn backend(error: impl std::error::Error + Send + Sync + 'static) -> InterfaceError {
    InterfaceError::Backend(Box::new(error))
}

/// One request and its response, which ends with an empty line. A connection that ends before is
/// an error: nothing was read, and nothing may be concluded.
async fn exchange(
    socket: &Path,
    reserve: &Reserve,
    request: &str,
) -> Result<Zeroizing<Vec<u8>>, UapiFault> {
    let response = converse(socket, reserve, request).await;
    // At once, before another part of the process has the descriptor that has become free.
    reserve.fill();
    response
}

async fn converse(
    socket: &Path,
    reserve: &Reserve,
    request: &str,
) -> Result<Zeroizing<Vec<u8>>, UapiFault> {
    let failed = |source| UapiFault::Socket {
        socket: socket.to_owned(),
        source,
    };
    let mut stream = reserve.connect(socket).await.map_err(failed)?;
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut response = Zeroizing::new(Vec::with_capacity(protocol::ROOM));
    while !response.ends_with(b"\n\n") {
        // Grown by hand: a buffer that grows by itself leaves secrets behind.
        let mut chunk = Zeroizing::new([0; 4096]);
        let len = stream.read(&mut *chunk).await.map_err(failed)?;
        if len == 0 {
            return Err(UapiFault::BrokenOff);
        }
        protocol::append(&mut response, chunk.get(..len).unwrap_or_default());
    }
    Ok(response)
}

crate::error_code::opaque! {
    /// Why an interface behind a socket did not do as it was told.
    pub struct UapiError(UapiFault);
}

/// What is behind [`UapiError`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum UapiFault {
    /// The socket can't be reached.
    #[error(
        "the WireGuard socket {} can't be reached: start the program that serves it (such as `wireguard-go wg0`), and run as a user who may open the socket", socket.display()
    )]
    Socket {
        /// The socket.
        socket: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The interface has another private key.
    #[error(
        "the WireGuard interface {name} has another private key than this gate: set it (`wg set {name} private-key FILE`), or point the gate at the right interface"
    )]
    OtherKey {
        /// The interface.
        name: String,
    },
    /// The interface can't be taken down from here.
    #[error(
        "the WireGuard interface {name} was not in this network namespace at the start and can't be taken down from here: take it down where it is (`ip link set {name} down`), or stop its program"
    )]
    Elsewhere {
        /// The interface.
        name: String,
    },
    /// The connection ended in the middle.
    #[error(
        "the program behind the WireGuard socket broke the connection off: is it still running?"
    )]
    BrokenOff,
    /// No answer came in time.
    #[error(
        "the program behind the WireGuard socket {} did not answer within {} ms: see whether it hangs, and start it again; where it is only slow, raise the limit (`patience`)", socket.display(), limit.as_millis()
    )]
    Unanswered {
        /// The socket.
        socket: PathBuf,
        /// How long was waited.
        limit: Duration,
    },
    /// The response is not of this protocol.
    #[error("the program behind the WireGuard socket does not speak its configuration protocol")]
    Malformed,
    /// The program refused.
    #[error("the program behind the WireGuard socket refused a change (errno {errno})")]
    Refused {
        /// Its error number, as of errno(3).
        errno: i32,
    },
    /// The interface is down, and can't be taken up from here.
    #[error(
        "the WireGuard interface {name} is down, so that nothing passes it, and this process can't take it up: run `ip link set {name} up`, or run as root or with the capability CAP_NET_ADMIN"
    )]
    Down {
        /// The interface.
        name: String,
        /// What the system says.
        #[source]
        source: InterfaceError,
    },
    /// The interface takes longer packets than it is to take.
    #[error(
        "the WireGuard interface {name} has an MTU of {has}, and is to have one of {most}: set it (`ip link set {name} mtu {most}`), or leave the setting out"
    )]
    Mtu {
        /// The interface.
        name: String,
        /// Its MTU, in bytes.
        has: u32,
        /// What it may be at most.
        most: u16,
    },
    /// A removed peer is still there.
    #[error("the program behind the WireGuard socket did not remove a peer, although it said so")]
    Unremoved,
}
