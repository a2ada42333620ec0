//! WireGuard in the process on a TUN device.

use std::sync::Arc;

use mfagate::code::ErrorCode;
use mfagate::interface::lease_guard::LeaseGuard;
use mfagate::interface::userspace::Userspace;
use mfagate::testing::interface::{conformance, conformance_of_loss};

use crate::harness::{GATE, GATE_ADDRESS, Harness};
use crate::network::{in_new_network, run};

async fn up() -> Userspace {
    Userspace::builder("wg0", GATE)
        .listen("127.0.0.1:0".parse().unwrap())
        .address(GATE_ADDRESS.parse().unwrap())
        .build()
        .await
        .unwrap()
}

#[test]
fn it_keeps_the_backends_contract() {
    in_new_network(|| async {
        let interface = up().await;
        let endpoint = interface.local_addr();
        let mut harness = Harness::new(interface, endpoint).await;
        harness.ends_leases = true;
        let report = conformance(&harness).await;
        println!("{report:?}");
    });
}

#[test]
fn it_keeps_the_contract_behind_a_lease_guard() {
    in_new_network(|| async {
        let interface = up().await;
        let endpoint = interface.local_addr();
        let guard = LeaseGuard::around(Arc::new(interface), "wg0")
            .await
            .unwrap();
        let mut harness = Harness::new(guard, endpoint).await;
        harness.ends_leases = true;
        let report = conformance(&harness).await;
        println!("{report:?}");
    });
}

#[test]
fn what_it_made_goes_with_it_and_what_is_wrong_is_named() {
    in_new_network(|| async {
        let interface = up().await;
        let shown = run("ip", &["address", "show", "dev", "wg0"]);
        assert!(
            shown.contains(GATE_ADDRESS) && shown.contains("mtu 1420"),
            "{shown}"
        );

        let again = Userspace::builder("wg0", GATE).build().await;
        assert!(
            matches!(&again, Err(error) if error.code() == "userspace-name-taken"),
            "{again:?}"
        );
        let taken = Userspace::builder("wg1", GATE).listen(interface.local_addr());
        let taken = taken.build().await;
        assert!(
            matches!(&taken, Err(error) if error.code() == "userspace-address-in-use"),
            "{taken:?}"
        );
        let twice = Userspace::builder("wg2", GATE)
            .address("10.9.1.1/24".parse().unwrap())
            .address("10.9.1.1/24".parse().unwrap());
        let twice = twice.build().await;
        assert!(
            matches!(&twice, Err(error) if error.code().starts_with("link-")),
            "{twice:?}"
        );
        let long = Userspace::builder("a-name-that-is-too-long", GATE);
        let long = long.build().await;
        assert!(
            matches!(&long, Err(error) if error.code() == "userspace-name"),
            "{long:?}"
        );

        drop(interface);
        let gone = || !run("ip", &["link", "show"]).contains("wg");
        let mut looks = 0;
        while !gone() {
            looks += 1;
            assert!(looks < 100, "{}", run("ip", &["link", "show"]));
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
}

#[test]
fn a_device_that_is_deleted_says_that_it_is_gone() {
    in_new_network(|| async {
        let interface = up().await;
        let endpoint = interface.local_addr();
        let mut harness = Harness::new(interface, endpoint).await;
        harness.take_away = Box::new(|| drop(run("ip", &["link", "delete", "wg0"])));
        conformance_of_loss(&harness).await;
    });
}
