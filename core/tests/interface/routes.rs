//! A client's routes around a TUN device, as an embedder has them.

use std::net::IpAddr;
use std::sync::Arc;

use mfagate::code::ErrorCode;
use mfagate::interface::routes::Routes;
use mfagate::interface::userspace::Userspace;
use mfagate::interface::{InterfaceBackend, PeerConfig};
use mfagate::key::PrivateKey;
use mfagate::testing::interface::conformance;

use crate::harness::{GATE, GATE_ADDRESS, Harness};
use crate::network::{in_new_network, run};

const EVERYTHING: [&str; 2] = ["0.0.0.0/0", "::/0"];

/// A client's interface of this name.
async fn client(name: &str, address: &str) -> Routes {
    let reserved = Routes::reserve().await.unwrap();
    let interface = Userspace::builder(name, PrivateKey::from_bytes([7; 32]))
        .fwmark(reserved.fwmark())
        .address(address.parse().unwrap())
        .build()
        .await
        .unwrap();
    reserved.over(name, Arc::new(interface)).await.unwrap()
}

fn gate(networks: &[&str], endpoint: &str) -> PeerConfig {
    let networks = networks.iter().map(|net| net.parse().unwrap()).collect();
    let endpoint = format!("{endpoint}:51820").parse().unwrap();
    PeerConfig::new(GATE.public_key(), None, networks).with_endpoint(endpoint)
}

/// Gives the machine a default route.
fn uplink() {
    let ends = [
        "link", "add", "uplink", "type", "veth", "peer", "name", "far",
    ];
    run("ip", &ends);
    run("ip", &["link", "set", "far", "up"]);
    run("ip", &["address", "add", "192.0.2.2/24", "dev", "uplink"]);
    run("ip", &["link", "set", "uplink", "up"]);
    let default = [
        "route",
        "add",
        "default",
        "via",
        "192.0.2.1",
        "metric",
        "100",
    ];
    run("ip", &default);
}

fn system() -> String {
    let rules = run("ip", &["rule"]) + &run("ip", &["-6", "rule"]);
    let routes = run("ip", &["-o", "route", "show", "table", "all"]);
    let main = |line: &&str| !line.contains(" dev wg");
    rules + &routes.lines().filter(main).collect::<Vec<_>>().join("\n")
}

fn way_to(address: &str, mark: u32) -> String {
    let mark = mark.to_string();
    let said = run("ip", &["-o", "route", "get", address, "mark", &mark]);
    let (_, device) = said.split_once(" dev ").unwrap();
    device.split(' ').next().unwrap().to_owned()
}

#[test]
fn it_keeps_the_contract_of_what_it_goes_around() {
    in_new_network(|| async {
        let reserved = Routes::reserve().await.unwrap();
        let interface = Userspace::builder("wg0", GATE)
            .listen("127.0.0.1:0".parse().unwrap())
            .address(GATE_ADDRESS.parse().unwrap())
            .build()
            .await
            .unwrap();
        let endpoint = interface.local_addr();
        let routes = reserved.over("wg0", Arc::new(interface)).await.unwrap();
        let report = conformance(&Harness::new(routes, endpoint).await).await;
        println!("{report:?}");
    });
}

#[test]
fn a_name_that_leads_elsewhere_later_goes_on_past_the_tunnel() {
    in_new_network(|| async {
        uplink();
        let before = system();
        let routes = client("wg0", "10.9.0.2/32").await;
        let (first, second): (IpAddr, IpAddr) = (
            "203.0.113.1".parse().unwrap(),
            "203.0.113.2".parse().unwrap(),
        );
        routes.keep_outside(&[first]).await.unwrap();
        assert_eq!(system(), before, "there is no session yet");

        let peer = gate(&EVERYTHING, "203.0.113.9");
        routes.install(vec![peer]).await.unwrap();
        assert_eq!(way_to("198.51.100.1", 0), "wg0");
        assert_eq!(way_to("198.51.100.1", routes.fwmark()), "uplink");
        assert_eq!(way_to("203.0.113.1", 0), "uplink");
        assert_eq!(way_to("203.0.113.9", 0), "uplink", "the endpoint");
        assert_eq!(way_to("203.0.113.2", 0), "wg0");
        routes.keep_outside(&[second]).await.unwrap();
        assert_eq!(way_to("203.0.113.2", 0), "uplink");

        // A renewal that leads to another endpoint, and another that changes nothing.
        let moved = gate(&EVERYTHING, "203.0.113.10");
        for _ in 0..2 {
            routes.renew(vec![moved.clone()]).await.unwrap();
            assert_eq!(way_to("203.0.113.10", 0), "uplink");
            assert_eq!(way_to("203.0.113.9", 0), "wg0");
        }
        routes.remove(&[GATE.public_key()]).await.unwrap();
        assert_eq!(system(), before);
    });
}

#[test]
fn a_new_address_inside_a_network_moves_its_route() {
    in_new_network(|| async {
        uplink();
        let routes = client("wg0", "10.9.0.2/32").await;
        let networks = ["10.9.0.0/24", "203.0.113.0/24"];
        let peer = gate(&networks, "192.0.2.9");
        routes.install(vec![peer]).await.unwrap();
        let main = || run("ip", &["route"]);
        assert!(main().contains("203.0.113.0/24 dev wg0"));
        let control = "203.0.113.7".parse().unwrap();
        routes.keep_outside(&[control]).await.unwrap();
        assert!(!main().contains("203.0.113.0/24"), "{}", main());
        assert_eq!(way_to("203.0.113.7", 0), "uplink");
        assert_eq!(way_to("203.0.113.8", 0), "wg0");
        assert_eq!(way_to("198.51.100.1", 0), "uplink");
        routes.fence().await.unwrap();
        assert!(!system().contains("proto 109"), "{}", system());
    });
}

#[test]
fn only_a_dead_clients_rules_are_taken_back() {
    in_new_network(|| async {
        uplink();
        // Another program's, under what would be the first numbers.
        let rule = ["rule", "add", "priority", "10902", "lookup", "main"];
        run("ip", &rule);
        let before = system();
        let live = client("wg0", "10.9.0.2/32").await;
        live.install(vec![gate(&EVERYTHING, "203.0.113.9")])
            .await
            .unwrap();
        let with_one = system();
        assert_ne!(live.fwmark(), 10_900);

        let dead = client("wg1", "10.8.0.2/32").await;
        assert_ne!(dead.fwmark(), live.fwmark());
        dead.install(vec![gate(&EVERYTHING, "203.0.113.8")])
            .await
            .unwrap();
        let number = dead.fwmark();
        drop(dead); // as if killed: nothing is taken back
        while run("ip", &["-o", "link"]).contains("wg1") {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        assert_ne!(system(), with_one);
        let next = Routes::reserve().await.unwrap();
        assert_eq!(next.fwmark(), number);
        assert_eq!(system(), with_one);
        live.remove(&[GATE.public_key()]).await.unwrap();
        assert_eq!(system(), before);
    });
}

#[test]
fn a_route_of_another_programs_is_neither_replaced_nor_removed() {
    in_new_network(|| async {
        uplink();
        run("ip", &["route", "add", "10.20.0.0/16", "via", "192.0.2.1"]);
        let before = system();
        let routes = client("wg0", "10.9.0.2/32").await;
        let peer = gate(&["10.20.0.0/16"], "203.0.113.9");
        let error = routes.install(vec![peer]).await.unwrap_err();
        let cause = std::error::Error::source(&error).unwrap();
        assert!(cause.to_string().contains("10.20.0.0/16"), "{cause}");
        routes.remove(&[GATE.public_key()]).await.unwrap();
        assert_eq!(system(), before);
        drop(routes);

        // Nor by an interface whose routes are there from the start.
        let taken = Userspace::builder("wg1", GATE)
            .address("10.7.0.1/24".parse().unwrap())
            .route("10.20.0.0/16".parse().unwrap())
            .build()
            .await;
        let text = taken.unwrap_err().to_string();
        assert!(text.contains("there is a route to 10.20.0.0/16"), "{text}");
        let own = Userspace::builder("wg2", GATE)
            .address("10.7.0.1/24".parse().unwrap())
            .route("10.7.0.0/24".parse().unwrap())
            .build()
            .await;
        assert!(own.is_ok(), "its own address brought that route: {own:?}");
    });
}

#[test]
fn ipv6_that_is_off_is_left_out_and_is_no_question_of_privilege() {
    in_new_network(|| async {
        run("sysctl", &["-qw", "net.ipv6.conf.all.disable_ipv6=1"]);
        let with = |addresses: &[&str]| {
            let mut builder = Userspace::builder("wg0", GATE);
            for address in addresses {
                builder = builder.address(address.parse().unwrap());
            }
            builder.build()
        };
        let both = with(&["10.9.0.1/24", "fd00::1/64"]).await.unwrap();
        assert_eq!(both.left_out(), ["fd00::1/64".parse().unwrap()]);
        drop(both);
        while run("ip", &["-o", "link"]).contains("wg0") {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        let none = with(&["fd00::1/64"]).await.unwrap_err();
        assert!(none.to_string().contains("IPv6 is switched off"), "{none}");
        let missing = Routes::reserve().await.unwrap();
        let inner = mfagate::testing::fake_interface::FakeInterface::new();
        let missing = missing.over("nowhere", Arc::new(inner)).await;
        assert!(matches!(&missing, Err(error) if error.code() == "link-missing"));
    });
}
