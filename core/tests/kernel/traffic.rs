//! Packets between two network namespaces, kernel to kernel: across a renewal, and until a removal.

use std::fs::File;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use mfagate::gate::Scope;
use mfagate::interface::kernel::KernelInterface;
use mfagate::interface::lease_guard::LeaseGuard;
use mfagate::interface::{InterfaceBackend, PeerConfig};
use mfagate::key::{PresharedKey, PrivateKey, PublicKey};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::fencing::fences_in_time;
use super::flow::{Receiver, Sender, come_and_go, nanos, show};
use super::leased::Leased;
use super::{GATE, gate, psk, sh};

const CLIENT: [u8; 32] = [3; 32];
const INNER: &str = "10.9.0.2";

/// How many times the removal is measured.
const ROUNDS: usize = 40;

/// A namespace `client` with a WireGuard interface of its own; it goes with this.
struct Site;

impl Site {
    fn new(gate: &KernelInterface) -> Self {
        let secret = PrivateKey::from_bytes(CLIENT).expose_base64();
        std::fs::write("/tmp/client.key", secret.as_bytes()).unwrap();
        let shared = PrivateKey::from_bytes([1; 32]).expose_base64(); // in its textual form
        std::fs::write("/tmp/client.psk", shared.as_bytes()).unwrap();
        sh("ip netns add client
            ip link add veth0 type veth peer name veth1 netns client
            ip address add 192.168.77.1/24 dev veth0
            ip link set veth0 up
            ip -n client address add 192.168.77.2/24 dev veth1
            ip -n client link set veth1 up
            ip -n client link add wgc type wireguard
            ip -n client address add 10.9.0.2/24 dev wgc");
        sh(&format!(
            "ip netns exec client wg set wgc private-key /tmp/client.key listen-port 5000 \
             peer {} preshared-key /tmp/client.psk allowed-ips 10.9.0.0/24 \
             endpoint 192.168.77.1:{}",
            gate.public_key(),
            gate.listen_port()
        ));
        sh("ip -n client link set wgc up");
        Self
    }

    /// Has the client begin again, as one does that is admitted: it forgets the session that it had.
    fn greet(&self) {
        let set = sh("ip netns exec client wg showconf wgc >/tmp/wgc.conf
            ip netns exec client wg setconf wgc /tmp/wgc.conf");
        assert_eq!(set, "");
    }

    /// A socket in the client's namespace.
    fn socket(&self, at: &'static str) -> UdpSocket {
        let inside = thread::spawn(move || {
            let namespace = File::open("/run/netns/client").unwrap();
            let network = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(namespace.as_fd(), network).unwrap();
            UdpSocket::bind(at).unwrap()
        });
        inside.join().unwrap()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        sh("ip netns delete client; ip link delete veth0 2>/dev/null || true");
    }
}

fn client() -> PublicKey {
    PrivateKey::from_bytes(CLIENT).public_key()
}

fn admitted(psk: Option<PresharedKey>) -> PeerConfig {
    let endpoint = "192.168.77.2:5000".parse().unwrap();
    let inner = format!("{INNER}/32").parse().unwrap();
    PeerConfig::new(client(), psk, vec![inner]).with_endpoint(endpoint)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the kernel's WireGuard: cargo xtask test runs it in a VM"]
async fn a_renewal_loses_no_packet_of_a_hundred_a_second() {
    let gate = gate().await;
    let site = Site::new(&gate);
    let epoch = Instant::now();
    let receiver = Receiver::start(UdpSocket::bind("10.9.0.1:9").unwrap(), epoch);
    gate.install(vec![admitted(psk(1))]).await.unwrap();
    let every = Duration::from_millis(10);
    let mut sender = Sender::start(site.socket("10.9.0.2:9"), "10.9.0.1:9", every, epoch);
    receiver.wait_for(20);
    // What was sent before the handshake may be lost; what is sent from here on may not.
    let before = sender.sent.load(Ordering::SeqCst) - receiver.count();
    for byte in 2..102 {
        gate.renew(vec![admitted(psk(byte))]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    let sent = sender.stop();
    tokio::time::sleep(Duration::from_millis(500)).await;
    println!(
        "{sent} sent over 100 renewals, {} received",
        receiver.count()
    );
    assert!(sent > 200);
    assert!(sent - receiver.count() <= before, "a renewal lost packets");
    let listed = gate.list().await.unwrap();
    assert!(
        listed.iter().any(|peer| peer.psk == psk(101)),
        "not renewed"
    );
}

/// The gate does nothing here: it may as well have been killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the kernel's WireGuard: cargo xtask test runs it in a VM"]
async fn the_lease_guard_ends_a_lease_by_itself_and_on_time() {
    const LEASE: Duration = Duration::from_secs(15);
    let gate = gate().await;
    let site = Site::new(&gate);
    let inner: Arc<dyn InterfaceBackend> = Arc::new(gate.clone());
    let guard = LeaseGuard::around(inner, "wg0").await.unwrap();
    let epoch = Instant::now();
    let receiver = Receiver::start(UdpSocket::bind("10.9.0.1:12").unwrap(), epoch);
    let every = Duration::from_millis(10);
    let mut sender = Sender::start(site.socket("10.9.0.2:12"), "10.9.0.1:12", every, epoch);
    // On the interface, and in no set: it passes nothing.
    gate.install(vec![admitted(psk(1))]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(receiver.count(), 0);

    // A renewal, which keeps the client's handshake: it is not to be waited for.
    let mut leased = admitted(psk(1));
    leased.lease = Some(LEASE);
    let called = nanos(epoch);
    guard.renew(vec![leased]).await.unwrap();
    let returned = nanos(epoch);
    receiver.wait_for(20);
    tokio::time::sleep(LEASE + Duration::from_secs(2)).await;
    let last = Duration::from_nanos(receiver.last_sent());
    sender.stop();
    let (earliest, latest) = (
        Duration::from_nanos(called) + LEASE,
        Duration::from_nanos(returned) + LEASE,
    );
    println!(
        "the last packet was sent {:?} after the lease was over",
        last.saturating_sub(latest)
    );
    assert!(last < latest + Duration::from_secs(1), "cut too late");
    assert!(last + Duration::from_secs(1) > earliest, "cut too early");
    assert_eq!(
        gate.list().await.unwrap().len(),
        1,
        "the peer is still there"
    );
    guard.remove(&[client()]).await.unwrap();
    guard.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the kernel's WireGuard: cargo xtask test runs it in a VM"]
async fn activity_tells_a_peers_place_and_that_it_is_unproven() {
    let gate = gate().await;
    let site = Site::new(&gate);
    let epoch = Instant::now();
    let receiver = Receiver::start(UdpSocket::bind("10.9.0.1:11").unwrap(), epoch);
    gate.install(vec![admitted(psk(1))]).await.unwrap();
    let every = Duration::from_millis(10);
    let mut sender = Sender::start(site.socket("10.9.0.2:11"), "10.9.0.1:11", every, epoch);
    for (address, elsewhere) in [("192.168.77.2", "192.168.77.3"), ("192.168.77.3", "")] {
        receiver.wait_for(20);
        let seen = gate.activity(&[client()]).await.unwrap();
        let [seen] = &seen[..] else {
            panic!("{seen:?}")
        };
        assert_eq!(
            seen.endpoint.map(|at| at.ip().to_string()).as_deref(),
            Some(address)
        );
        assert!(!seen.is_endpoint_proven && seen.last_handshake.is_some());
        if !elsewhere.is_empty() {
            sh(&format!(
                "ip -n client address add {elsewhere}/24 dev veth1
                 ip -n client address delete {address}/24 dev veth1
                 ip -n client address replace {elsewhere}/24 dev veth1"
            ));
        }
    }
    sender.stop();
}

/// Both namespaces read one clock, so each packet carries when it was sent. None that was sent
/// after `remove` returned may arrive, in either direction: that is exact, however slow the machine
/// is. When the last one was *read* is printed as well; it includes the reading thread's wait for
/// a processor, which in an emulated machine says little.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the kernel's WireGuard: cargo xtask test runs it in a VM"]
async fn nothing_sent_after_a_removal_arrives() {
    let gate = gate().await;
    let site = Site::new(&gate);
    let epoch = Instant::now();
    let (ours, theirs) = (
        UdpSocket::bind("10.9.0.1:10").unwrap(),
        site.socket("10.9.0.2:10"),
    );
    let up = Receiver::start(ours.try_clone().unwrap(), epoch);
    let down = Receiver::start(theirs.try_clone().unwrap(), epoch);
    let every = Duration::from_millis(2);
    let mut senders = [
        Sender::start(theirs, "10.9.0.1:10", every, epoch),
        Sender::start(ours, "10.9.0.2:10", every, epoch),
    ];
    let (mut took, mut read) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        gate.install(vec![admitted(psk(1))]).await.unwrap();
        up.wait_for(10);
        down.wait_for(10);
        let called = nanos(epoch);
        gate.remove(&[client()]).await.unwrap();
        let returned = nanos(epoch);
        tokio::time::sleep(Duration::from_millis(150)).await;
        for receiver in [&up, &down] {
            let last = receiver.last_sent();
            assert!(
                last <= returned,
                "sent {} ns after the removal",
                last - returned
            );
            let last = receiver.last_read();
            read.push(last.saturating_sub(returned));
        }
        took.push(returned - called);
    }
    for sender in &mut senders {
        sender.stop();
    }
    show("remove took", &mut took);
    let p50 = show("last packet read after remove returned", &mut read);
    assert!(p50 <= 5_000_000, "it keeps passing packets");
}

/// The bound that the README states: what was sent after `Gate::revoke` returned never arrives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the kernel's WireGuard: cargo xtask test runs it in a VM"]
async fn nothing_sent_after_a_revocation_arrives() {
    let gate = gate().await;
    let site = Site::new(&gate);
    let leased = Leased::new(PrivateKey::from_bytes(GATE)).await;
    let epoch = Instant::now();
    let (ours, theirs) = (
        UdpSocket::bind("10.9.0.1:13").unwrap(),
        site.socket("10.9.0.2:13"),
    );
    let up = Receiver::start(ours.try_clone().unwrap(), epoch);
    let down = Receiver::start(theirs.try_clone().unwrap(), epoch);
    let every = Duration::from_millis(2);
    let mut senders = [
        Sender::start(theirs, "10.9.0.1:13", every, epoch),
        Sender::start(ours, "10.9.0.2:13", every, epoch),
    ];
    let mut read = Vec::new();
    for _ in 0..20 {
        leased
            .admit(&admitted(psk(1)), Duration::from_secs(3600))
            .await;
        let running = leased.gate(Arc::new(gate.clone())).await;
        // The gate leaves it to the peer where it is; the client's handshakes say so.
        site.greet();
        up.wait_for(10);
        down.wait_for(10);
        let ended = running.revoke(Scope::All).await.unwrap();
        let returned = nanos(epoch);
        assert_eq!(ended.len(), 1);
        tokio::time::sleep(Duration::from_millis(150)).await;
        for receiver in [&up, &down] {
            assert!(receiver.last_sent() <= returned, "it passes on");
            read.push(receiver.last_read().saturating_sub(returned));
        }
        running.shutdown().await;
    }
    for sender in &mut senders {
        sender.stop();
    }
    let p50 = show("last packet read after revoke returned", &mut read);
    assert!(p50 <= 5_000_000, "it keeps passing packets");
}

/// And what was sent after a lease has ended by itself does not arrive either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the kernel's WireGuard: cargo xtask test runs it in a VM"]
async fn nothing_sent_after_a_lease_has_ended_arrives() {
    let gate = gate().await;
    let site = Site::new(&gate);
    let leased = Leased::new(PrivateKey::from_bytes(GATE)).await;
    let epoch = Instant::now();
    let up = Receiver::start(UdpSocket::bind("10.9.0.1:15").unwrap(), epoch);
    let every = Duration::from_millis(2);
    let mut sender = Sender::start(site.socket("10.9.0.2:15"), "10.9.0.1:15", every, epoch);
    let lease = Duration::from_secs(5);
    leased.admit(&admitted(psk(1)), lease).await;
    let end = epoch.elapsed() + lease;
    let running = leased.gate(Arc::new(gate.clone())).await;
    site.greet();
    up.wait_for(10);
    let late = Duration::from_secs(1);
    tokio::time::sleep(lease + late).await;
    up.ended_at(end, late, "kernel");
    sender.stop();
    running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the kernel's WireGuard: cargo xtask test runs it in a VM"]
async fn an_attack_holds_up_no_fence() {
    let gate = gate().await;
    let site = Site::new(&gate);
    let leased = Leased::new(PrivateKey::from_bytes(GATE)).await;
    leased
        .admit(&admitted(psk(1)), Duration::from_secs(3600))
        .await;
    let epoch = Instant::now();
    let up = Receiver::start(UdpSocket::bind("10.9.0.1:16").unwrap(), epoch);
    let every = Duration::from_millis(2);
    let mut sender = Sender::start(site.socket("10.9.0.2:16"), "10.9.0.1:16", every, epoch);
    let begin = async || site.greet();
    // Two hundred connections a second: the machine's processors are a small part of a real one's.
    let pause = Duration::from_millis(10);
    let interface = Arc::new(gate.clone());
    fences_in_time("kernel", &leased, interface, begin, &up, epoch, pause).await;
    sender.stop();
    assert!(
        !sh("ip link show dev wg0").contains(",UP"),
        "the interface is down"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the kernel's WireGuard: cargo xtask test runs it in a VM"]
async fn a_thousand_peers_that_come_and_go_do_not_stall_a_stream() {
    let gate = gate().await;
    let site = Site::new(&gate);
    let epoch = Instant::now();
    let every = Duration::from_millis(2);
    // Beside the tunnel, over the bare cable: what the machine itself does to a stream.
    let bare = Receiver::start(UdpSocket::bind("192.168.77.1:14").unwrap(), epoch);
    let mut beside = Sender::start(
        site.socket("192.168.77.2:14"),
        "192.168.77.1:14",
        every,
        epoch,
    );
    let stream = Receiver::start(UdpSocket::bind("10.9.0.1:14").unwrap(), epoch);
    gate.install(vec![admitted(psk(1))]).await.unwrap();
    let mut sender = Sender::start(site.socket("10.9.0.2:14"), "10.9.0.1:14", every, epoch);
    stream.wait_for(100);
    // From the second hundred on: the client's address is among the first.
    let others: Vec<_> = (100..1100).map(|n| super::peer(n, psk(2))).collect();
    // What stalls because of those who come and go stalls every time; an emulated processor, now
    // and then.
    let mut shortest = Duration::MAX;
    for _ in 0..3 {
        let begun = nanos(epoch);
        come_and_go(&gate, &others).await;
        // A stall is over, and seen, when the next packet comes.
        stream.wait_for(5);
        bare.wait_for(5);
        let stall = stream.longest_stall(begun, &bare);
        println!("a thousand came and went, one by one and at once: {stall:?}");
        shortest = shortest.min(stall);
        if shortest <= Duration::from_millis(50) {
            break;
        }
    }
    sender.stop();
    beside.stop();
    assert!(shortest <= Duration::from_millis(50), "{shortest:?}");
}
