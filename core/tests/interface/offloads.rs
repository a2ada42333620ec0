//! Streams at full speed, with the kernel's offloads and with each of them left out: what passes,
//! whole, and what a removal stops.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mfagate::interface::userspace::Userspace;
use mfagate::interface::{InterfaceBackend, PeerConfig};
use mfagate::key::PrivateKey;
use tokio::runtime::Runtime;

use crate::flow::nanos;
use crate::harness::GATE;
use crate::line::{EVERY, Line, psk, within};
use crate::network::{HERE, Host, in_new_network, run};

/// What the device and the socket may use.
#[derive(Debug, Clone, Copy)]
struct Offloads {
    of_device: bool,
    of_socket: bool,
}

const ALL: Offloads = Offloads {
    of_device: true,
    of_socket: true,
};

/// With all there is, and each fall-back.
const EACH: [Offloads; 4] = [
    ALL,
    Offloads {
        of_device: true,
        of_socket: false,
    },
    Offloads {
        of_device: false,
        of_socket: true,
    },
    Offloads {
        of_device: false,
        of_socket: false,
    },
];
const PATIENCE: Duration = Duration::from_secs(20);
const CLIENT: PrivateKey = PrivateKey::from_bytes([101; 32]);
/// Both ends inside, of each family.
const INSIDE: [(&str, &str); 2] = [("10.9.0.1", "10.9.0.2"), ("fd09::1", "fd09::2")];

async fn end(
    name: &str,
    key: PrivateKey,
    offloads: Offloads,
    mtu: u16,
    inside: usize,
) -> Userspace {
    let (v4, v6) = (pick(INSIDE[0], inside), pick(INSIDE[1], inside));
    Userspace::builder(name, key)
        .listen("[::]:51820".parse().unwrap())
        .address(format!("{v4}/24").parse().unwrap())
        .address(format!("{v6}/64").parse().unwrap())
        .mtu(mtu)
        .device_offloads(offloads.of_device)
        .udp_segmentation(offloads.of_socket)
        .build()
        .await
        .unwrap()
}

fn pick(of: (&'static str, &'static str), inside: usize) -> &'static str {
    [of.0, of.1][inside]
}

/// A gate here and a client there.
struct Ends {
    host: Host,
    _gate: Userspace,
    client: Option<(Runtime, Userspace)>,
}

impl Ends {
    async fn up(offloads: Offloads, mtu: u16) -> Self {
        let host = Host::joined();
        let gate = end("wg0", GATE, offloads, mtu, 0).await;
        let networks = |of: usize, lengths: [u8; 2]| {
            let of = INSIDE.map(|inside| pick(inside, of));
            let network = |n: usize| format!("{}/{}", of[n], lengths[n]).parse().unwrap();
            vec![network(0), network(1)]
        };
        let peer = PeerConfig::new(CLIENT.public_key(), Some(psk(1)), networks(1, [32, 128]));
        gate.install(vec![peer]).await.unwrap();
        let as_peer = PeerConfig::new(GATE.public_key(), Some(psk(1)), networks(0, [24, 64]))
            .with_endpoint(SocketAddr::new(HERE.parse().unwrap(), 51_820));
        let client = within(&host, move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap();
            let client = runtime.block_on(async {
                let client = end("wg1", CLIENT, offloads, mtu, 1).await;
                client.install(vec![as_peer]).await.unwrap();
                client
            });
            (runtime, client)
        });
        Self {
            host,
            _gate: gate,
            client: Some(client),
        }
    }

    /// Carries so much from the client to the gate and back, and looks at each byte.
    fn carry(&self, family: usize, megabytes: usize) {
        let (near, far) = connect(&self.host, INSIDE[family].0.parse().unwrap());
        for (from, to) in [(&near, &far), (&far, &near)] {
            carry(from, to, megabytes << 20);
        }
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        if let Some((runtime, client)) = self.client.take() {
            drop(client);
            runtime.shutdown_background(); // it may be dropped inside another
        }
    }
}

/// A connection from there to this address here.
fn connect(host: &Host, to: IpAddr) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((to, 0)).unwrap();
    let at = listener.local_addr().unwrap();
    let near = within(host, move || {
        TcpStream::connect_timeout(&at, PATIENCE).unwrap()
    });
    let (far, _) = listener.accept().unwrap();
    for end in [&near, &far] {
        end.set_read_timeout(Some(PATIENCE)).unwrap();
        end.set_write_timeout(Some(PATIENCE)).unwrap();
    }
    (near, far)
}

fn carry(mut from: &TcpStream, mut to: &TcpStream, bytes: usize) {
    // No two packets carry the same.
    let sent: Vec<u8> = (0..bytes / 4)
        .flat_map(|n| {
            u32::try_from(n)
                .unwrap()
                .wrapping_mul(0x9e37_79b1)
                .to_le_bytes()
        })
        .collect();
    let mut received = vec![0; sent.len()];
    std::thread::scope(|scope| {
        scope.spawn(|| from.write_all(&sent).unwrap());
        to.read_exact(&mut received).unwrap();
    });
    assert!(sent == received, "what came is not what was sent");
}

/// How long the packets are that the device gave to the system, on average.
fn average_received(name: &str) -> u64 {
    let shown = run("ip", &["-s", "-j", "link", "show", "dev", name]);
    let rx = shown.split("\"rx\":").nth(1).unwrap();
    let count = |what: &str| -> u64 {
        let value = rx.split(&format!("\"{what}\":")).nth(1).unwrap();
        let end = value.find([',', '}']).unwrap();
        value[..end].trim().parse().unwrap()
    };
    count("bytes") / count("packets").max(1)
}

#[test]
fn streams_pass_whole_with_offloads_and_with_each_fall_back() {
    for offloads in EACH {
        in_new_network(move || async move {
            let ends = Ends::up(offloads, 1420).await;
            for family in [0, 1] {
                ends.carry(family, 4);
            }
        });
    }
}

#[test]
fn the_kernel_gets_many_packets_in_one_piece_where_it_may() {
    for (offloads, is_joined) in [(ALL, true), (EACH[2], false)] {
        in_new_network(move || async move {
            let ends = Ends::up(offloads, 1420).await;
            ends.carry(0, 8);
            let average = average_received("wg0");
            println!("{offloads:?}: {average} bytes in a packet on average");
            assert_eq!(average > 1420, is_joined, "{average}");
        });
    }
}

#[test]
fn streams_pass_on_a_path_narrower_than_the_tunnel() {
    in_new_network(|| async {
        let ends = Ends::up(ALL, 1420).await;
        run("ip", &["link", "set", "cable0", "mtu", "1400"]);
        ends.host
            .run("ip", &["link", "set", "cable1", "mtu", "1400"]);
        ends.carry(0, 2);
    });
}

#[test]
fn streams_pass_in_packets_much_smaller_than_the_mtu() {
    in_new_network(|| async {
        let ends = Ends::up(ALL, 1420).await;
        let small = |dev| {
            let route = ["route", "change", "10.9.0.0/24", "dev", dev];
            [route.as_slice(), &["advmss", "200"]].concat()
        };
        run("ip", &small("wg0"));
        ends.host.run("ip", &small("wg1"));
        ends.carry(0, 1);
    });
}

#[test]
fn streams_pass_where_the_cable_takes_no_runs() {
    in_new_network(|| async {
        let ends = Ends::up(ALL, 1420).await;
        run("ethtool", &["-K", "cable0", "tx-udp-segmentation", "off"]);
        let off = ["-K", "cable1", "tx-udp-segmentation", "off"];
        ends.host.run("ethtool", &off);
        ends.carry(0, 4);
    });
}

#[test]
fn streams_pass_with_the_least_and_the_largest_mtu() {
    for mtu in [1280, 9000, 65_475] {
        in_new_network(move || async move {
            let ends = Ends::up(ALL, mtu).await;
            for family in [0, 1] {
                ends.carry(family, 2);
            }
        });
    }
}

/// Eight streams that go on until they are told to stop or nothing passes.
struct Streams {
    stop: Arc<AtomicBool>,
    /// How many bytes came, in both directions.
    received: Arc<AtomicU64>,
}

impl Streams {
    fn start(host: &Host, to: &str) -> Self {
        let (stop, received) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        for n in 0..8 {
            let (near, far) = connect(host, to.parse().unwrap());
            let (mut from, mut into) = if n % 2 == 0 { (near, far) } else { (far, near) };
            let (stopped, count) = (Arc::clone(&stop), Arc::clone(&received));
            let halted = Arc::clone(&stop);
            std::thread::spawn(move || {
                let chunk = vec![7; 1 << 16];
                while !halted.load(Ordering::SeqCst) && from.write_all(&chunk).is_ok() {}
            });
            std::thread::spawn(move || {
                let mut buffer = vec![0; 1 << 16];
                while !stopped.load(Ordering::SeqCst) {
                    match into.read(&mut buffer) {
                        Ok(0) | Err(_) => return,
                        Ok(len) => {
                            let len = u64::try_from(len).unwrap();
                            count.fetch_add(len, Ordering::SeqCst);
                        }
                    }
                }
            });
        }
        Self { stop, received }
    }

    fn count(&self) -> u64 {
        self.received.load(Ordering::SeqCst)
    }

    async fn go_on(&self) {
        let (before, begun) = (self.count(), Instant::now());
        while self.count() < before + (1 << 20) {
            assert!(begun.elapsed() < PATIENCE, "no traffic");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

/// Removes one of two peers, each with eight streams under way, a few times.
async fn remove_one_of_two(offloads: Offloads) {
    let host = Host::joined();
    let endpoint = SocketAddr::new(HERE.parse().unwrap(), 51_820);
    let gate = Userspace::builder("wg0", GATE)
        .listen("[::]:51820".parse().unwrap())
        .address("10.8.0.1/24".parse().unwrap())
        .address("10.9.0.1/24".parse().unwrap())
        .device_offloads(offloads.of_device)
        .udp_segmentation(offloads.of_socket)
        .build()
        .await
        .unwrap();
    let [removed, other] = [8, 9].map(|n| Line::new(&host, n, GATE.public_key(), endpoint));
    gate.install(vec![other.peer()]).await.unwrap();
    other.begin(psk(1)).await;
    let streams_of_other = Streams::start(&host, "10.9.0.1");
    let epoch = Instant::now();
    let mut traffic = removed.both_ways(EVERY, epoch);
    for _ in 0..4 {
        gate.install(vec![removed.peer()]).await.unwrap();
        removed.begin(psk(1)).await;
        let streams = Streams::start(&host, "10.8.0.1");
        streams.go_on().await;
        traffic.wait_for(5);

        gate.remove(&[removed.peer().key]).await.unwrap();
        let returned = nanos(epoch);

        // What had come through is read by then.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let passed = streams.count();
        streams_of_other.go_on().await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(streams.count(), passed, "{offloads:?}: a stream goes on");
        for receiver in [&traffic.up, &traffic.down] {
            let last = receiver.last_sent();
            assert!(last <= returned, "{offloads:?}: {} ns", last - returned);
        }
    }
    traffic.stop();
}

#[test]
fn no_stream_of_a_removed_peer_goes_on_beside_anothers() {
    for offloads in EACH {
        in_new_network(move || remove_one_of_two(offloads));
    }
}
