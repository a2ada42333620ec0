//! What the kernel holds after each call.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mfagate::gate::{Closed, Event};
use mfagate::interface::kernel::KernelInterface;
use mfagate::interface::{InterfaceBackend, InterfaceError, PeerConfig};
use mfagate::key::PrivateKey;

use super::leased::Leased;
use super::{GATE, gate, key, peer, psk, sh};

#[tokio::test]
#[ignore = "needs the kernel's WireGuard: cargo xtask test runs it in a VM"]
async fn a_thousand_peers_are_installed_renewed_listed_and_removed() {
    let gate = gate().await;
    let batch = |byte| (0..1000).map(|n| peer(n, psk(byte))).collect::<Vec<_>>();
    let keys: Vec<_> = (0..1000).map(key).collect();

    timed("install 1,000", gate.install(batch(1))).await;
    let listed = timed("list 1,000", gate.list()).await;
    same(listed, batch(1));
    timed("renew 1,000", gate.renew(batch(2))).await;
    same(gate.list().await.unwrap(), batch(2));
    timed("install 1,000 that are there", gate.install(batch(3))).await;
    same(gate.list().await.unwrap(), batch(3));
    let active = timed("activity of 1 among 1,000", gate.activity(&keys[7..8])).await;
    assert!(matches!(&active[..], [one] if one.key == keys[7]));
    timed("remove 1 of 1,000", gate.remove(&keys[..1])).await;
    timed("remove 999", gate.remove(&keys)).await;
    assert!(gate.list().await.unwrap().is_empty());
    timed("remove 1,000 that are absent", gate.remove(&keys)).await;
}

#[tokio::test]
#[ignore = "needs the kernel's WireGuard: cargo xtask test runs it in a VM"]
async fn no_preshared_key_clears_the_one_that_was_there() {
    let gate = gate().await;
    gate.install(vec![peer(1, psk(1)), peer(2, psk(2))])
        .await
        .unwrap();
    gate.renew(vec![peer(1, None)]).await.unwrap();
    same(
        gate.list().await.unwrap(),
        vec![peer(1, None), peer(2, psk(2))],
    );
    assert_eq!(
        sh("wg show wg0 preshared-keys | grep -c '(none)'").trim(),
        "1"
    );
    gate.install(vec![peer(2, None)]).await.unwrap();
    same(
        gate.list().await.unwrap(),
        vec![peer(1, None), peer(2, None)],
    );
}

#[tokio::test]
#[ignore = "needs the kernel's WireGuard: cargo xtask test runs it in a VM"]
async fn nothing_is_inherited_from_an_earlier_peer() {
    let gate = gate().await;
    let endpoint = "192.0.2.1:5".parse().unwrap();
    let rich = peer(1, psk(1))
        .with_endpoint(endpoint)
        .with_keepalive(Duration::from_millis(1));
    gate.install(vec![rich.clone()]).await.unwrap();
    let listed = gate.list().await.unwrap();
    let [told] = &listed[..] else {
        panic!("{listed:?}")
    };
    assert_eq!(told.endpoint, Some(endpoint));
    assert_eq!(told.keepalive, Some(Duration::from_secs(1)));
    let mut other = peer(1, psk(1));
    other.allowed_ips = vec!["fd00::1/128".parse().unwrap()];
    gate.install(vec![other.clone()]).await.unwrap();
    same(gate.list().await.unwrap(), vec![other]);
    // A renewal brings what is new, and drops what is no longer said.
    gate.renew(vec![peer(1, psk(2)), peer(3, psk(3))])
        .await
        .unwrap();
    same(
        gate.list().await.unwrap(),
        vec![peer(1, psk(2)), peer(3, psk(3))],
    );
}

#[tokio::test]
#[ignore = "needs the kernel's WireGuard: cargo xtask test runs it in a VM"]
async fn a_peer_of_many_networks_is_listed_whole() {
    let gate = gate().await;
    let mut wide = peer(1, psk(1));
    wide.allowed_ips = (0..3000_u16)
        .map(|n| format!("fd00::{n:x}/128").parse().unwrap())
        .collect();
    let batch = vec![peer(0, psk(4)), wide, peer(2, psk(5))];
    gate.install(batch.clone()).await.unwrap();
    same(gate.list().await.unwrap(), batch);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the kernel's WireGuard: cargo xtask test runs it in a VM"]
async fn a_list_is_never_short_while_another_program_changes_the_interface() {
    let gate = gate().await;
    let lasting: Vec<_> = (0..400).map(|n| peer(n, psk(1))).collect();
    let passing: Vec<_> = (400..440).map(|n| peer(n, psk(1))).collect();
    gate.install(lasting).await.unwrap();
    let other = KernelInterface::adopt("wg0").await.unwrap();
    let churn = tokio::spawn(async move {
        for round in 0_u32.. {
            let one = usize::try_from(round).unwrap() % passing.len();
            other.install(vec![passing[one].clone()]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
            other.remove(&[passing[one].key]).await.unwrap();
        }
    });
    let (mut lists, mut refused) = (0, 0);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(5) {
        match gate.list().await {
            Ok(peers) => {
                let there = (0..400).filter(|n| peers.iter().any(|p| p.key == key(*n)));
                assert_eq!(there.count(), 400, "a list of {}", peers.len());
                lists += 1;
            }
            Err(_) => refused += 1,
        }
    }
    churn.abort();
    _ = churn.await;
    println!("{lists} whole lists, {refused} given up");
    assert!(gate.list().await.unwrap().len() >= 400);
}

#[tokio::test]
#[ignore = "needs the kernel's WireGuard: cargo xtask test runs it in a VM"]
async fn a_peer_with_the_interfaces_own_key_is_refused() {
    let gate = gate().await;
    let own = PeerConfig::new(gate.public_key(), psk(1), Vec::new());
    assert!(gate.install(vec![own.clone()]).await.is_err());
    assert!(gate.renew(vec![own]).await.is_err());
}

#[tokio::test]
#[ignore = "needs the kernel's WireGuard: cargo xtask test runs it in a VM"]
async fn a_call_that_was_given_up_is_over_when_the_next_begins() {
    let gate = gate().await;
    for round in 0..50 {
        let install = gate.install(vec![peer(1, psk(1))]);
        let wait = Duration::from_micros(round * 20);
        _ = tokio::time::timeout(wait, install).await;
        gate.remove(&[key(1)]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert!(gate.list().await.unwrap().is_empty(), "it came late");
    }
}

#[tokio::test]
#[ignore = "needs the kernel's WireGuard: cargo xtask test runs it in a VM"]
async fn a_fence_takes_the_link_down_and_all_peers_off() {
    let gate = gate().await;
    gate.install((0..100).map(|n| peer(n, psk(1))).collect())
        .await
        .unwrap();
    timed("fence 100", gate.fence()).await;
    assert_eq!(sh("wg show wg0 peers"), "");
    assert!(!sh("ip link show wg0").contains(",UP"));
    let late = gate.install(vec![peer(1, psk(1))]).await;
    assert!(matches!(late, Err(InterfaceError::Down)));
    gate.fence().await.unwrap();
}

#[tokio::test]
#[ignore = "needs the kernel's WireGuard: cargo xtask test runs it in a VM"]
async fn a_peer_behind_a_zone_is_listed_and_removed() {
    let gate = gate().await;
    gate.install(vec![peer(1, psk(1)), peer(2, psk(1))])
        .await
        .unwrap();
    sh(&format!(
        "ip link add far0 type veth peer name far1; ip link set far0 up; \
         wg set wg0 peer {} endpoint [fe80::1%far0]:9",
        key(1)
    ));
    assert_eq!(gate.list().await.unwrap().len(), 2);
    let seen = gate.activity(&[key(1)]).await.unwrap();
    assert!(seen[0].endpoint.is_some());
    gate.remove(&[key(1)]).await.unwrap();
    gate.remove(&[key(2)]).await.unwrap();
    assert_eq!(sh("wg show wg0 peers"), "");
}

#[tokio::test]
#[ignore = "needs the kernel's WireGuard: cargo xtask test runs it in a VM"]
async fn a_gate_removes_strangers_and_closes_without_its_interface() {
    let leased = Leased::new(PrivateKey::from_bytes(GATE)).await;
    leased
        .admit(&peer(1, psk(1)), Duration::from_secs(3600))
        .await;
    let gate = leased.gate(Arc::new(gate().await)).await;
    let mut events = gate.events();
    let begun = Instant::now();
    sh(&format!(
        "wg set wg0 peer {} allowed-ips 10.9.0.99/32",
        key(2)
    ));
    let said = Event::UnleasedPeer { peer: key(2) };
    while events.next().await.unwrap() != said {}
    println!("noticed after {:?}", begun.elapsed());
    while sh("wg show wg0 peers").lines().count() != 1 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    sh("ip link delete wg0");
    assert_eq!(gate.closed().await, Closed::InterfaceGone);
    gate.shutdown().await;
}

async fn timed<T>(what: &str, call: impl Future<Output = Result<T, InterfaceError>>) -> T {
    let begun = Instant::now();
    let done = call.await.unwrap();
    println!("{what}: {:.1} ms", begun.elapsed().as_secs_f64() * 1e3);
    done
}

#[track_caller]
fn same(mut listed: Vec<PeerConfig>, mut wanted: Vec<PeerConfig>) {
    for peers in [&mut listed, &mut wanted] {
        peers.sort_by_key(|peer| peer.key);
        for peer in peers.iter_mut() {
            peer.allowed_ips.sort_unstable();
        }
    }
    assert_eq!(listed.len(), wanted.len());
    assert!(listed == wanted, "{listed:?}\n{wanted:?}");
}
