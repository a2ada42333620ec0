#!/usr/bin/env bash
# quinn-udp 0.5.16: wrapping a UDP socket in UdpSocketState, for its batches or for the address that a
# datagram was sent to, also forbids fragments on that socket, for the plain sends of others too.
#
# From memory, UdpSocketState::new reads what the socket can do. It also sets IP_MTU_DISCOVER to PROBE:
# a datagram that is larger than the link is refused with EMSGSIZE from then on, where before the call
# it arrived in two fragments; UdpSocketState::send reports that refusal as success, as its page says of
# errors that path MTU discovery expects. There is no option, and may_fragment() goes on to answer
# `false` after the setting was put back and fragments pass again.
#
# For QUIC this is right. For a protocol with fixed sizes it is not: WireGuard's default of 1,420 bytes
# inside makes datagrams of 1,452, which a link of 1,400 or PPPoE with IPv6 carries in fragments today,
# and not at all after the wrapping. Setting IP_MTU_DISCOVER back to WANT after `new` brings them back.
#
# Needs `unshare` and `ip`; runs in a network namespace of its own, in which loopback's MTU is 1,400.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir src
cat >Cargo.toml <<'END'
[package]
name = "trial"
version = "0.0.0"
edition = "2021"
[dependencies]
quinn-udp = { version = "=0.5.16", default-features = false }
rustix = { version = "=1.1.4", features = ["net"] }
END
cat >src/main.rs <<'END'
use std::net::UdpSocket;
use std::time::Duration;

use quinn_udp::{Transmit, UdpSocketState};
use rustix::net::sockopt::{ip_mtu_discover, set_ip_mtu_discover, Ipv4PathMtuDiscovery};

fn main() {
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    receiver.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let to = receiver.local_addr().unwrap();
    let datagram = [7; 1452];
    let arrives = || receiver.recv(&mut [0; 2000]).ok();
    let plain = |when: &str| {
        let sent = sender.send_to(&datagram, to).map_err(|error| error.raw_os_error());
        println!("{when}: {:?}, sent {sent:?}, arrived {:?}", discovery(&sender), arrives());
    };

    plain("before");
    let state = UdpSocketState::new((&sender).into()).unwrap();
    plain("wrapped");
    let sent = state.send((&sender).into(), &transmit(&datagram, to)).map_err(|e| e.raw_os_error());
    println!("by the wrapper: sent {sent:?}, arrived {:?}, may_fragment {}", arrives(), state.may_fragment());
    set_ip_mtu_discover(&sender, Ipv4PathMtuDiscovery::WANT).unwrap();
    plain("set back");
    let sent = state.send((&sender).into(), &transmit(&datagram, to)).map_err(|e| e.raw_os_error());
    println!("by the wrapper: sent {sent:?}, arrived {:?}, may_fragment {}", arrives(), state.may_fragment());
}

fn discovery(socket: &UdpSocket) -> &'static str {
    match ip_mtu_discover(socket).unwrap() {
        Ipv4PathMtuDiscovery::WANT => "WANT",
        Ipv4PathMtuDiscovery::PROBE => "PROBE",
        _ => "another",
    }
}

fn transmit(contents: &[u8], destination: std::net::SocketAddr) -> Transmit<'_> {
    Transmit { destination, ecn: None, contents, segment_size: None, src_ip: None }
}
END
cargo build --quiet
unshare --user --map-root-user --net sh -c 'ip link set lo mtu 1400 up && target/debug/trial' | tee seen
diff - seen <<'END'
before: "WANT", sent Ok(1452), arrived Some(1452)
wrapped: "PROBE", sent Err(Some(90)), arrived None
by the wrapper: sent Ok(()), arrived None, may_fragment false
set back: "WANT", sent Ok(1452), arrived Some(1452)
by the wrapper: sent Ok(()), arrived Some(1452), may_fragment false
END
echo "seen as described"
