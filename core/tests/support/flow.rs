//! UDP flows whose packets carry when they were sent. All network namespaces of a machine read one
//! clock, so who sent what when, and when it came, is exact.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mfagate::interface::{InterfaceBackend, PeerConfig};

/// Sends the time, again and again, until stopped.
pub(crate) struct Sender {
    stop: Arc<AtomicBool>,
    pub(crate) sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Sender {
    pub(crate) fn start(
        socket: UdpSocket,
        to: &'static str,
        every: Duration,
        epoch: Instant,
    ) -> Self {
        let (stop, sent) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&sent));
        let thread = thread::spawn(move || {
            let mut next = Instant::now();
            while !stopped.load(Ordering::SeqCst) {
                // Without a peer there is no way: the system refuses, and that is as it should be.
                if socket.send_to(&nanos(epoch).to_be_bytes(), to).is_ok() {
                    count.fetch_add(1, Ordering::SeqCst);
                }
                next += every;
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        });
        let thread = Some(thread);
        Self { stop, sent, thread }
    }

    /// Stops it, and says how many it sent.
    pub(crate) fn stop(&mut self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
        self.sent.load(Ordering::SeqCst)
    }
}

/// What arrives, with when it was sent and when it was read.
#[derive(Clone, Default)]
pub(crate) struct Receiver {
    arrived: Arc<Mutex<Vec<Arrival>>>,
}

#[derive(Debug, Clone, Copy)]
struct Arrival {
    sent: u64,
    read: u64,
}

impl Receiver {
    pub(crate) fn start(socket: UdpSocket, epoch: Instant) -> Self {
        let receiver = Self::default();
        let into = receiver.clone();
        thread::spawn(move || {
            let mut bytes = [0; 8];
            while let Ok(8) = socket.recv(&mut bytes) {
                into.note(u64::from_be_bytes(bytes), nanos(epoch));
            }
        });
        receiver
    }

    pub(crate) fn note(&self, sent: u64, read: u64) {
        let mut arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        arrived.push(Arrival { sent, read });
    }

    fn arrivals(&self) -> Vec<Arrival> {
        let arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        arrived.clone()
    }

    pub(crate) fn count(&self) -> u64 {
        let arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        u64::try_from(arrived.len()).unwrap()
    }

    /// When the last packet that came was sent.
    pub(crate) fn last_sent(&self) -> u64 {
        let sent = self.arrivals().into_iter().map(|arrival| arrival.sent);
        sent.max().unwrap_or(0)
    }

    /// The last packet that came was sent when a lease was to end, or so much away from that at
    /// most.
    pub(crate) fn ended_at(&self, end: Duration, late: Duration, backend: &str) {
        let last = Duration::from_nanos(self.last_sent());
        println!("{backend}: sent last {last:?} after the start, the lease's end was at {end:?}");
        assert!(last.abs_diff(end) <= late, "{backend}");
    }

    /// When the last packet was read.
    pub(crate) fn last_read(&self) -> u64 {
        self.arrivals().last().map_or(0, |last| last.read)
    }

    /// Waits until more have arrived.
    pub(crate) fn wait_for(&self, more: u64) {
        let (begun, wanted) = (Instant::now(), self.count() + more);
        while self.count() < wanted {
            assert!(begun.elapsed() < Duration::from_secs(30), "no traffic");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// The times in which nothing arrived, from one packet to the next, since then.
    pub(crate) fn gaps(&self, since: u64) -> Vec<(u64, u64)> {
        let read = self.arrivals().into_iter().map(|arrival| arrival.read);
        let read: Vec<_> = read.filter(|at| *at >= since).collect();
        read.windows(2).map(|two| (two[0], two[1])).collect()
    }

    /// The longest time for which nothing arrived since then, less what a flow that no one
    /// disturbed had to wait at that moment too: the machine does other things as well.
    pub(crate) fn longest_stall(&self, since: u64, undisturbed: &Self) -> Duration {
        let others = undisturbed.gaps(since);
        let stalls = self.gaps(since).into_iter().map(|(begin, end)| {
            let meanwhile = others
                .iter()
                .filter(|other| other.0 < end && begin < other.1);
            let excused = meanwhile.map(|other| other.1 - other.0).max();
            (end - begin).saturating_sub(excused.unwrap_or(0))
        });
        Duration::from_nanos(stalls.max().unwrap_or(u64::MAX))
    }
}

pub(crate) fn nanos(epoch: Instant) -> u64 {
    u64::try_from(epoch.elapsed().as_nanos()).unwrap()
}

/// Prints, and returns the median.
pub(crate) fn show(what: &str, nanos: &mut [u64]) -> u64 {
    nanos.sort_unstable();
    let at = |percent: usize| nanos[(nanos.len() - 1) * percent / 100];
    let [p50, p99] = [at(50), at(99)].map(|n| n / 1000);
    println!("{what}: p50 {p50} µs, p99 {p99} µs, of {}", nanos.len());
    at(50)
}

/// Has peers come and go: one by one, and all at once.
pub(crate) async fn come_and_go(interface: &dyn InterfaceBackend, peers: &[PeerConfig]) {
    for peer in peers {
        interface.install(vec![peer.clone()]).await.unwrap();
    }
    for peer in peers {
        interface.remove(&[peer.key]).await.unwrap();
    }
    interface.install(peers.to_vec()).await.unwrap();
    let keys: Vec<_> = peers.iter().map(|peer| peer.key).collect();
    interface.remove(&keys).await.unwrap();
}
