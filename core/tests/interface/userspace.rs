//! WireGuard in the process on a TUN device.

use std::sync::Arc;

use mfagate::interface::lease_guard::LeaseGuard;
use mfagate::interface::userspace::{Userspace, UserspaceError};
use mfagate::testing::interface::conformance;

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
        let report = conformance(&Harness::new(interface, endpoint).await).await;
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
        let report = conformance(&Harness::new(guard, endpoint).await).await;
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
            matches!(again, Err(UserspaceError::NameTaken { .. })),
            "{again:?}"
        );
        let taken = Userspace::builder("wg1", GATE).listen(interface.local_addr());
        let taken = taken.build().await;
        assert!(
            matches!(taken, Err(UserspaceError::AddressInUse { .. })),
            "{taken:?}"
        );
        let twice = Userspace::builder("wg2", GATE)
            .address("10.9.1.1/24".parse().unwrap())
            .address("10.9.1.1/24".parse().unwrap());
        let twice = twice.build().await;
        assert!(matches!(twice, Err(UserspaceError::Link(_))), "{twice:?}");
        let long = Userspace::builder("a-name-that-is-too-long", GATE);
        let long = long.build().await;
        assert!(matches!(long, Err(UserspaceError::Name { .. })), "{long:?}");

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
