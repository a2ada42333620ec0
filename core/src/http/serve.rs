//! A server for the control port that withstands those who want to use it up.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::files::file_limit;
use super::router;
use crate::log;
use crate::runtime::Gate;

/// How long the head of a request may take, the next one's on an open connection included.
pub(crate) const HEAD_TIME: Duration = Duration::from_secs(30);

/// Connections at the same time, where the process may have so many files.
const CONNECTIONS: usize = 4096;
/// How old a connection may become. A client opens another.
const LIFETIME: Duration = Duration::from_secs(10 * 60);
/// How long a connection that is to end may still take for the request that is under way.
const LINGER: Duration = Duration::from_secs(2);
/// The buffer of a connection, and with it the longest head, in bytes.
const BUFFER: usize = 16 * 1024;
/// How long after a connection could not be taken the next one is tried.
const ACCEPT_AGAIN: Duration = Duration::from_secs(1);
/// How often it is said that connections are turned away.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// Serves a gate's control channel over HTTP until `shutdown` resolves, with the limits of
/// [`Server::new`].
///
/// ```no_run
/// # async fn run(gate: mfagate::gate::Gate) -> std::io::Result<()> {
/// let listener = tokio::net::TcpListener::bind("0.0.0.0:7000").await?;
/// let stop = std::future::pending(); // a signal, say
/// mfagate::http::serve(listener, gate.clone(), stop).await;
/// gate.shutdown().await;
/// # Ok(())
/// # }
/// ```
///
/// Cancel safe: dropped, it closes its connections.
pub async fn serve(listener: TcpListener, gate: Gate, shutdown: impl Future<Output = ()>) {
    Server::new(gate).serve(listener, shutdown).await;
}

/// An HTTP server with limits, so that no one without a key can use up what the process needs:
/// its files, its memory, its time.
///
/// `axum::serve` has none of these limits.
///
/// | | limit |
/// |---|---|
/// | connections | 4,096, and no more than half of the process's file limit; see [`raise_file_limit`](super::raise_file_limit) |
/// | connections of one source | a quarter of that |
/// | time for the head of a request | [`HEAD_TIME`] |
/// | time for its body | [`BODY_TIME`](super::server::BODY_TIME), by the [router] |
/// | length of a head; of a body | 16 KiB; 65,535 bytes, by the [router] |
/// | age of a connection | ten minutes |
///
/// A source is an IPv4 address or the /64 network of an IPv6 address. A connection over a limit is
/// closed at once. The client's address reaches the audit trail; behind a reverse proxy that is the
/// proxy's, which then is the one source that there is.
#[derive(Debug)]
pub struct Server {
    app: Router,
    head_time: Duration,
    connections: usize,
    per_source: usize,
    linger: Duration,
}

impl Server {
    /// A server of this gate.
    pub fn new(gate: Gate) -> Self {
        Self::of(router(gate))
    }

    /// A server of a router of the embedder's own, which has the gate's [router] merged in.
    pub fn of(app: Router) -> Self {
        let files = usize::try_from(file_limit()).unwrap_or(usize::MAX);
        let connections = (files / 2).clamp(1, CONNECTIONS);
        Self {
            app,
            head_time: HEAD_TIME,
            connections,
            per_source: connections.div_ceil(4),
            linger: LINGER,
        }
    }

    /// How long the head of a request may take.
    #[must_use]
    pub const fn head_time(mut self, limit: Duration) -> Self {
        self.head_time = limit;
        self
    }

    /// How many connections are open at the same time, of all and of one source. Leave room below
    /// the process's file limit for what else needs files: the store, the services behind the gate.
    #[must_use]
    pub const fn connections(mut self, in_all: usize, of_one_source: usize) -> Self {
        self.connections = in_all;
        self.per_source = of_one_source;
        self
    }

    /// How long, once the server is to stop, requests under way may still take. Without it: two
    /// seconds.
    #[must_use]
    pub const fn linger(mut self, limit: Duration) -> Self {
        self.linger = limit;
        self
    }

    /// Serves until `shutdown` resolves; then takes no more connections, and returns when those
    /// that are open have ended, after [`linger`](Self::linger) at the latest.
    ///
    /// A connection that can't be accepted, as when the file limit is used up, is no reason to
    /// stop: the next one is tried a second later.
    ///
    /// Cancel safe: dropped, it closes its connections.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        let stop = CancellationToken::new();
        let doorkeeper = Arc::new(Doorkeeper::new(self.connections, self.per_source));
        let mut connections = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, from)) => if let Some(place) = Doorkeeper::admit(&doorkeeper, from) {
                        let app = self.app.clone().layer(Extension(ConnectInfo(from)));
                        let stop = stop.clone();
                        connections.spawn(converse(stream, app, self.head_time, stop, place));
                    },
                    Err(error) => {
                        log::later(move || {
                            tracing::warn!(%error, "a control connection was not accepted");
                        });
                        tokio::select! {
                            () = &mut shutdown => break,
                            () = sleep(ACCEPT_AGAIN) => {}
                        }
                    }
                },
                Some(_) = connections.join_next() => {}
            }
        }
        drop(listener);
        stop.cancel();
        let ended = async { while connections.join_next().await.is_some() {} };
        // What is left then is dropped, and closed with that.
        _ = timeout(self.linger, ended).await;
    }
}

/// Serves one connection to its end. How it ends is its client's affair: nothing is lost by it.
async fn converse(
    stream: TcpStream,
    app: Router,
    head_time: Duration,
    stop: CancellationToken,
    _place: ConnectionPermit,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_time)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    let mut connection = pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stop.cancelled() => {}
        () = sleep(LIFETIME) => {}
    }
    connection.as_mut().graceful_shutdown();
    // A client that does not read its response would hold the connection without end.
    _ = timeout(LINGER.max(super::server::BODY_TIME), connection).await;
}

/// Counts the connections.
#[derive(Debug)]
struct Doorkeeper {
    in_all: usize,
    per_source: usize,
    present: Mutex<Present>,
}

#[derive(Debug, Default)]
struct Present {
    in_all: usize,
    by_source: BTreeMap<IpAddr, usize>,
    turned_away: u64,
    said: Option<Instant>,
}

/// A connection that is counted until this is dropped.
struct ConnectionPermit {
    doorkeeper: Arc<Doorkeeper>,
    source: IpAddr,
}

impl Doorkeeper {
    fn new(in_all: usize, per_source: usize) -> Self {
        Self {
            in_all,
            per_source,
            present: Mutex::default(),
        }
    }

    /// A place, where there is one.
    fn admit(this: &Arc<Self>, from: SocketAddr) -> Option<ConnectionPermit> {
        let source = source_of(from.ip());
        let mut present = this.present();
        let of_source = present.by_source.get(&source).copied().unwrap_or(0);
        if present.in_all >= this.in_all || of_source >= this.per_source {
            present.turn_away(source);
            return None;
        }
        present.in_all += 1;
        present.by_source.insert(source, of_source + 1);
        Some(ConnectionPermit {
            doorkeeper: Arc::clone(this),
            source,
        })
    }

    fn present(&self) -> MutexGuard<'_, Present> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Present {
    /// Says so, once in a while.
    fn turn_away(&mut self, source: IpAddr) {
        self.turned_away += 1;
        let now = Instant::now();
        if self
            .said
            .is_none_or(|said| now.duration_since(said) >= SAY_AGAIN)
        {
            self.said = Some(now);
            let (open, turned_away) = (self.in_all, std::mem::take(&mut self.turned_away));
            log::later(move || {
                tracing::warn!(
                    open,
                    turned_away,
                    %source,
                    "too many control connections: some are closed at once"
                );
            });
        }
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut present = self.doorkeeper.present();
        present.in_all -= 1;
        if let Some(count) = present.by_source.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                present.by_source.remove(&self.source);
            }
        }
    }
}

/// What counts as one source: who has an IPv6 address has the whole /64 as a rule.
fn source_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests;
