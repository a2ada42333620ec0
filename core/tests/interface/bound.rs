//! How soon traffic stops once a revocation has returned, how long a stream stalls while others
//! come and go, and what a renewal costs it: with packets, for each backend. The README states what
//! these tests assert. Those of the kernel's WireGuard are in `tests/kernel`.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mfagate::gate::Scope;
use mfagate::interface::lease_guard::LeaseGuard;
use mfagate::interface::uapi::Uapi;
use mfagate::interface::userspace::Userspace;
use mfagate::interface::{InterfaceBackend, PeerConfig};
use mfagate::key::PublicKey;

use crate::fencing::fences_in_time;
use crate::flow::{Receiver, Sender, come_and_go, nanos, show};
use crate::harness::GATE;
use crate::in_process::InProcess;
use crate::leased::Leased;
use crate::line::{EVERY, Line, psk, within};
use crate::network::{HERE, Host, THERE, in_new_network};
use crate::uapi::up;

/// How often a revocation is measured.
const ROUNDS: usize = 20;
/// What the README says: as the median, since a reading thread waits for a processor too.
const BOUND: Duration = Duration::from_millis(5);
/// How far from a lease's end the last packet may be sent.
const LATE: Duration = Duration::from_secs(1);
/// The longest that a stream may stall.
const STALL: Duration = Duration::from_millis(50);
/// How often that is tried on a machine that is busy with other things: what stalls because of
/// those who come and go stalls every time.
const TRIES: usize = 3;
const HOUR: Duration = Duration::from_secs(3600);
/// A lease that ends during a test.
const SHORT: Duration = Duration::from_secs(3);

async fn userspace(number: u8) -> Userspace {
    Userspace::builder(format!("wg{number}"), GATE)
        .listen(
            format!("{HERE}:{}", 51_000 + u16::from(number))
                .parse()
                .unwrap(),
        )
        .address(format!("10.{number}.0.1/24").parse().unwrap())
        .build()
        .await
        .unwrap()
}

/// Revokes again and again in the middle of traffic in both directions.
async fn revoke(
    host: &Host,
    backend: &str,
    interface: Arc<dyn InterfaceBackend>,
    endpoint: SocketAddr,
) {
    let line = Line::new(host, 9, GATE.public_key(), endpoint);
    let leased = Leased::new(GATE).await;
    let epoch = Instant::now();
    let mut traffic = line.both_ways(EVERY, epoch);
    let mut read = Vec::new();
    for _ in 0..ROUNDS {
        leased.admit(&line.peer(), HOUR).await;
        let gate = leased.gate(Arc::clone(&interface)).await;
        line.begin(psk(1)).await;
        traffic.wait_for(10);
        let ended = gate.revoke(Scope::All).await.unwrap();
        let returned = nanos(epoch);
        assert_eq!(ended.len(), 1);
        tokio::time::sleep(Duration::from_millis(100)).await;
        for receiver in [&traffic.up, &traffic.down] {
            let last = receiver.last_sent();
            assert!(last <= returned, "sent {} ns after it", last - returned);
            read.push(receiver.last_read().saturating_sub(returned));
        }
        gate.shutdown().await;
    }
    traffic.stop();
    let what = format!("{backend}: last packet read after revoke returned");
    let median = show(&what, &mut read);
    assert!(Duration::from_nanos(median) <= BOUND, "it goes on");
}

#[test]
fn userspace_passes_nothing_that_is_sent_after_a_revocation() {
    in_new_network(|| async {
        let host = Host::joined();
        let interface = userspace(9).await;
        let endpoint = interface.local_addr();
        revoke(&host, "userspace", Arc::new(interface), endpoint).await;
    });
}

#[test]
fn a_guarded_interface_passes_nothing_after_a_revocation() {
    in_new_network(|| async {
        let host = Host::joined();
        let interface = userspace(9).await;
        let endpoint = interface.local_addr();
        let guard = LeaseGuard::around(Arc::new(interface), "wg9")
            .await
            .unwrap();
        revoke(&host, "userspace, guarded", Arc::new(guard), endpoint).await;
    });
}

#[test]
fn wireguard_go_passes_nothing_that_is_sent_after_a_revocation() {
    in_new_network(|| async {
        let host = Host::joined();
        let program = up().await;
        let interface = Uapi::builder(&program.name).renews_in_place();
        let interface = interface.build(&GATE).await.unwrap();
        let endpoint = format!("{HERE}:51820").parse().unwrap();
        revoke(&host, "uapi", Arc::new(interface), endpoint).await;
    });
}

/// Lets a lease end by itself in the middle of traffic in both directions.
async fn expire(
    host: &Host,
    backend: &str,
    interface: Arc<dyn InterfaceBackend>,
    endpoint: SocketAddr,
) {
    let line = Line::new(host, 9, GATE.public_key(), endpoint);
    let leased = Leased::new(GATE).await;
    let epoch = Instant::now();
    let mut traffic = line.both_ways(EVERY, epoch);
    leased.admit(&line.peer(), SHORT).await;
    let end = epoch.elapsed() + SHORT;
    let gate = leased.gate(interface).await;
    line.begin(psk(1)).await;
    traffic.wait_for(10);
    tokio::time::sleep(SHORT + LATE).await;
    for receiver in [&traffic.up, &traffic.down] {
        receiver.ended_at(end, LATE, backend);
    }
    traffic.stop();
    gate.shutdown().await;
}

#[test]
fn userspace_passes_nothing_that_is_sent_after_a_lease_has_ended() {
    in_new_network(|| async {
        let host = Host::joined();
        let interface = userspace(9).await;
        let endpoint = interface.local_addr();
        expire(&host, "userspace", Arc::new(interface), endpoint).await;
    });
}

#[test]
fn wireguard_go_passes_nothing_that_is_sent_after_a_lease_has_ended() {
    in_new_network(|| async {
        let host = Host::joined();
        let program = up().await;
        let interface = Uapi::builder(&program.name).build(&GATE).await.unwrap();
        let endpoint = format!("{HERE}:51820").parse().unwrap();
        expire(&host, "uapi", Arc::new(interface), endpoint).await;
    });
}

#[test]
fn an_attack_holds_up_no_fence_on_userspace() {
    in_new_network(|| async {
        let host = Host::joined();
        let interface = userspace(9).await;
        let line = Line::new(&host, 9, GATE.public_key(), interface.local_addr());
        let leased = Leased::new(GATE).await;
        leased.admit(&line.peer(), HOUR).await;
        let epoch = Instant::now();
        let (mut sender, stream) = line.up(EVERY, epoch);
        let begin = async || line.begin(psk(1)).await;
        let (name, pause) = ("userspace", Duration::ZERO);
        fences_in_time(
            name,
            &leased,
            Arc::new(interface),
            begin,
            &stream,
            epoch,
            pause,
        )
        .await;
        sender.stop();
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn in_process_passes_nothing_that_is_sent_after_a_revocation() {
    let mut ends = InProcess::new().await;
    let leased = Leased::new(GATE).await;
    let epoch = Instant::now();
    let mut read = Vec::new();
    for _ in 0..ROUNDS {
        leased.admit(&InProcess::peer(), HOUR).await;
        let gate = leased.gate(Arc::new(ends.gate.clone())).await;
        let (stream, _tasks) = ends.stream(epoch).await;
        gate.revoke(Scope::All).await.unwrap();
        let returned = nanos(epoch);
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(stream.last_sent() <= returned, "it passes on");
        read.push(stream.last_read().saturating_sub(returned));
        gate.shutdown().await;
    }
    let median = show(
        "in process: last packet read after revoke returned",
        &mut read,
    );
    assert!(Duration::from_nanos(median) <= BOUND, "it goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_process_passes_nothing_that_is_sent_after_a_lease_has_ended() {
    let mut ends = InProcess::new().await;
    let leased = Leased::new(GATE).await;
    let epoch = Instant::now();
    leased.admit(&InProcess::peer(), SHORT).await;
    let end = epoch.elapsed() + SHORT;
    let gate = leased.gate(Arc::new(ends.gate.clone())).await;
    let (stream, _tasks) = ends.stream(epoch).await;
    tokio::time::sleep(SHORT + LATE).await;
    stream.ended_at(end, LATE, "in process");
    gate.shutdown().await;
}

/// Peers that come and go, and send nothing.
fn others() -> Vec<PeerConfig> {
    let other = |n: u16| {
        let [high, low] = n.to_be_bytes();
        let mut key = [7; 32];
        key[..2].copy_from_slice(&[high, low]);
        let inside = format!("10.200.{high}.{low}/32").parse().unwrap();
        let mut peer = PeerConfig::new(PublicKey::from_bytes(key), Some(psk(2)), vec![inside]);
        peer.lease = Some(HOUR);
        peer
    };
    (0..1000).map(other).collect()
}

/// A stream through `interface`, whose network is 10.9.0.0/24, while a thousand come and go; beside
/// it one over the bare cable, which shows what the machine itself does to a stream.
async fn stream_among_others(
    host: &Host,
    backend: &str,
    interface: &dyn InterfaceBackend,
    endpoint: SocketAddr,
) {
    let line = Line::new(host, 9, GATE.public_key(), endpoint);
    interface.install(vec![line.peer()]).await.unwrap();
    line.begin(psk(1)).await;
    let epoch = Instant::now();
    let (mut sender, stream) = line.up(EVERY, epoch);
    let (mut sender_beside, bare) = bare(host, epoch);
    stream.wait_for(200);
    does_not_stall(backend, interface, &stream, &bare, epoch).await;
    sender.stop();
    sender_beside.stop();
}

async fn does_not_stall(
    backend: &str,
    interface: &dyn InterfaceBackend,
    stream: &Receiver,
    undisturbed: &Receiver,
    epoch: Instant,
) {
    let mut shortest = Duration::MAX;
    for _ in 0..TRIES {
        let begun = nanos(epoch);
        come_and_go(interface, &others()).await;
        // A stall is over, and seen, when the next packet comes.
        stream.wait_for(5);
        undisturbed.wait_for(5);
        let stall = stream.longest_stall(begun, undisturbed);
        println!("{backend}: a thousand came and went, one by one and at once: {stall:?}");
        shortest = shortest.min(stall);
        if shortest <= STALL {
            break;
        }
    }
    assert!(shortest <= STALL, "{backend}: {shortest:?}");
}

/// A flow from the other host with no WireGuard around it.
fn bare(host: &Host, epoch: Instant) -> (Sender, Receiver) {
    let to: &'static str = format!("{HERE}:14").leak();
    let receiver = Receiver::start(UdpSocket::bind(to).unwrap(), epoch);
    let socket = within(host, || UdpSocket::bind(format!("{THERE}:14")).unwrap());
    (Sender::start(socket, to, EVERY, epoch), receiver)
}

#[test]
fn a_thousand_changes_do_not_stall_a_userspace_stream() {
    in_new_network(|| async {
        let host = Host::joined();
        let interface = userspace(9).await;
        stream_among_others(&host, "userspace", &interface, interface.local_addr()).await;
    });
}

#[test]
fn a_thousand_changes_do_not_stall_a_guarded_stream() {
    in_new_network(|| async {
        let host = Host::joined();
        let interface = userspace(9).await;
        let endpoint = interface.local_addr();
        let guard = LeaseGuard::around(Arc::new(interface), "wg9")
            .await
            .unwrap();
        stream_among_others(&host, "userspace, guarded", &guard, endpoint).await;
    });
}

#[test]
fn a_thousand_changes_do_not_stall_a_wireguard_go_stream() {
    in_new_network(|| async {
        let host = Host::joined();
        let program = up().await;
        let interface = Uapi::builder(&program.name).renews_in_place();
        let interface = interface.danger_believe_removals();
        let interface = interface.build(&GATE).await.unwrap();
        let endpoint = format!("{HERE}:51820").parse().unwrap();
        stream_among_others(&host, "uapi", &interface, endpoint).await;
    });
}

/// A flow on loopback: what the machine itself does to a stream in one process.
fn loopback(epoch: Instant) -> (Sender, Receiver) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to: &'static str = socket.local_addr().unwrap().to_string().leak();
    let from = UdpSocket::bind("127.0.0.1:0").unwrap();
    let receiver = Receiver::start(socket, epoch);
    (Sender::start(from, to, EVERY, epoch), receiver)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_changes_do_not_stall_a_stream_in_process() {
    let mut ends = InProcess::new().await;
    ends.gate.install(vec![InProcess::peer()]).await.unwrap();
    let epoch = Instant::now();
    let (stream, _tasks) = ends.stream(epoch).await;
    let (mut sender, undisturbed) = loopback(epoch);
    undisturbed.wait_for(5);
    does_not_stall("in process", &ends.gate, &stream, &undisturbed, epoch).await;
    sender.stop();
}

/// A stream shows no loss, but what is lost has to be sent again and holds it up.
#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_does_not_hold_up_a_stream_in_process() {
    let mut ends = InProcess::new().await;
    ends.gate.install(vec![InProcess::peer()]).await.unwrap();
    let epoch = Instant::now();
    let (stream, _tasks) = ends.stream(epoch).await;
    let (mut sender, undisturbed) = loopback(epoch);
    undisturbed.wait_for(5);
    let begun = nanos(epoch);
    for n in 2..5 {
        let mut renewed = InProcess::peer();
        renewed.psk = Some(psk(n));
        ends.gate.renew(vec![renewed]).await.unwrap();
        ends.client.renew(vec![ends.as_gate(psk(n))]).await.unwrap();
        stream.wait_for(100);
    }
    let stall = stream.longest_stall(begun, &undisturbed);
    println!("in process: the longest gap is {stall:?}");
    assert!(stall <= STALL);
    sender.stop();
}

/// Renews a few times in the middle of a flow of a hundred packets in a second; the longest time in
/// which none came, and how many were lost.
async fn renew(
    host: &Host,
    interface: &dyn InterfaceBackend,
    endpoint: SocketAddr,
) -> (Duration, u64) {
    let line = Line::new(host, 9, GATE.public_key(), endpoint);
    interface.install(vec![line.peer()]).await.unwrap();
    line.begin(psk(1)).await;
    let epoch = Instant::now();
    let (mut sender, flow) = line.up(Duration::from_millis(10), epoch);
    flow.wait_for(20);
    // What was sent before the handshake may be lost; what is sent from here on is counted.
    let before = sender.sent.load(Ordering::SeqCst) - flow.count();
    let begun = nanos(epoch);
    for n in 2..5 {
        let mut renewed = line.peer();
        renewed.psk = Some(psk(n));
        interface.renew(vec![renewed]).await.unwrap();
        line.renew(psk(n)).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        flow.wait_for(5);
    }
    let sent = sender.stop();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let lost = (sent - flow.count()).saturating_sub(before);
    let gaps = flow.gaps(begun).into_iter().map(|gap| gap.1 - gap.0);
    (Duration::from_nanos(gaps.max().unwrap()), lost)
}

#[test]
fn a_renewal_in_place_loses_no_packet_of_a_hundred_a_second() {
    in_new_network(|| async {
        let host = Host::joined();
        let interface = userspace(9).await;
        let (gap, lost) = renew(&host, &interface, interface.local_addr()).await;
        println!("userspace: {lost} lost, longest gap {gap:?}");
        assert_eq!(lost, 0);
    });
    in_new_network(|| async {
        let host = Host::joined();
        let program = up().await;
        let interface = Uapi::builder(&program.name).renews_in_place();
        let interface = interface.build(&GATE).await.unwrap();
        let endpoint = format!("{HERE}:51820").parse().unwrap();
        let (gap, lost) = renew(&host, &interface, endpoint).await;
        println!("uapi, in place: {lost} lost, longest gap {gap:?}");
        assert_eq!(lost, 0);
    });
}

/// What a program is renewed by that can't be trusted with a change: the gap is a handshake, which
/// the interface begins, not the client, which believes in its session for ten seconds and more.
#[test]
fn a_renewal_that_removes_and_adds_leaves_a_gap_of_a_handshake() {
    in_new_network(|| async {
        let host = Host::joined();
        let program = up().await;
        let interface = Uapi::builder(&program.name).build(&GATE).await.unwrap();
        let endpoint = format!("{HERE}:51820").parse().unwrap();
        let (gap, lost) = renew(&host, &interface, endpoint).await;
        println!("uapi, removed and added: {lost} lost, longest gap {gap:?}");
        assert!(gap < Duration::from_secs(8), "{gap:?}");
    });
}
