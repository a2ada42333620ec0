//! What can't be removed is fenced under attack as soon as without one, shown with packets.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mfagate::gate::{Closed, Scope};
use mfagate::interface::InterfaceBackend;
use mfagate::policy::Policy;
use tokio::net::TcpListener;

use crate::flow::{Receiver, nanos};
use crate::leased::Leased;
use crate::stubborn::{FENCE_AFTER, FENCED_BY, Flood, Stubborn};

/// Starts a gate on that interface, on which `begin` has the peer of a live session begin; then revokes
/// it, though the interface removes no one, with an attack on the gate's control port. `stream` is what
/// comes from the peer.
pub(crate) async fn fences_in_time(
    backend: &str,
    leased: &Leased,
    interface: Arc<dyn InterfaceBackend>,
    begin: impl AsyncFnOnce(),
    stream: &Receiver,
    epoch: Instant,
    pause: Duration,
) {
    let mut policy = Policy::default();
    policy.fence_after = FENCE_AFTER;
    let (stubborn, refuses) = Stubborn::around(interface);
    let gate = leased.gate_under(policy, stubborn).await;
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let listener = listener.await.unwrap();
    let control = listener.local_addr().unwrap();
    let served = tokio::spawn(mfagate::http::serve(
        listener,
        gate.clone(),
        std::future::pending(),
    ));
    begin().await;
    stream.wait_for(10);
    let flood = Flood::on(control, pause);
    stream.wait_for(10);

    refuses.store(true, Ordering::SeqCst);
    let revoked = nanos(epoch);
    let (_, why) = tokio::join!(gate.revoke(Scope::All), gate.closed());
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(flood);
    served.abort();

    assert_eq!(why, Closed::Fenced, "{backend}");
    let took = Duration::from_nanos(stream.last_sent().saturating_sub(revoked));
    println!("{backend}: what was sent {took:?} after the revocation came last");
    assert!(took < FENCED_BY, "{backend}: fenced too late: {took:?}");
    // It came for as long as nothing was fenced: what is shown is the fence.
    assert!(took > Duration::from_secs(1), "{backend}: {took:?}");
}
