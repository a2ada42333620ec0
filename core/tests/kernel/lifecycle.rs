//! How an interface begins and ends, and what is said when it can't.

use std::os::unix::process::CommandExt;
use std::process::Command;

use mfagate::code::ErrorCode;
use mfagate::interface::InterfaceBackend;
use mfagate::interface::kernel::KernelInterface;
use mfagate::key::PrivateKey;

use super::{GATE, exists, gate, key, peer, psk, sh};

#[tokio::test]
#[ignore = "needs the kernel's WireGuard: cargo xtask test runs it in a VM"]
async fn an_interface_that_was_made_goes_with_its_last_handle() {
    let gate = gate().await;
    let clone = gate.clone();
    assert!(sh("ip address show wg0").contains("10.9.0.1/24"));
    assert_eq!(
        sh("wg show wg0 public-key").trim(),
        gate.public_key().to_string()
    );
    assert_eq!(
        sh("wg show wg0 listen-port").trim(),
        gate.listen_port().to_string()
    );
    drop(gate);
    assert!(exists("wg0"));
    drop(clone);
    assert!(!exists("wg0"));
}

#[tokio::test]
#[ignore = "needs the kernel's WireGuard: cargo xtask test runs it in a VM"]
async fn an_interface_is_made_as_told_and_closed_on_request() {
    let gate = KernelInterface::builder("wg0", PrivateKey::from_bytes(GATE))
        .listen_port(51999)
        .mtu(1300)
        .fwmark(0x2a)
        .address("10.9.0.1/24".parse().unwrap())
        .address("fd00::1/64".parse().unwrap())
        .create()
        .await
        .unwrap();
    assert_eq!(gate.listen_port(), 51999);
    assert!(sh("ip link show wg0").contains("mtu 1300"));
    assert_eq!(sh("wg show wg0 fwmark").trim(), "0x2a");
    assert!(sh("ip address show wg0").contains("fd00::1/64"));
    gate.close().await.unwrap();
    assert!(!exists("wg0"));
    assert!(gate.list().await.is_err());
    gate.close().await.unwrap();
}

#[tokio::test]
#[ignore = "needs the kernel's WireGuard: cargo xtask test runs it in a VM"]
async fn an_interface_made_by_hand_is_adopted_and_left() {
    sh("ip link add wg7 type wireguard; wg genkey >/tmp/key; wg set wg7 private-key /tmp/key");
    sh(&format!(
        "wg set wg7 peer {} allowed-ips 10.1.0.1/32",
        key(1)
    ));
    sh("ip link set wg7 up");
    {
        let gate = KernelInterface::adopt("wg7").await.unwrap();
        assert_eq!(
            sh("wg show wg7 public-key").trim(),
            gate.public_key().to_string()
        );
        let found = gate.list().await.unwrap();
        assert!(matches!(&found[..], [one] if one.key == key(1) && one.psk.is_none()));
        gate.install(vec![peer(2, psk(2))]).await.unwrap();
        gate.close().await.unwrap();
    }
    assert_eq!(sh("wg show wg7 peers").lines().count(), 2);
    sh("ip link delete wg7");
}

#[tokio::test]
#[ignore = "needs the kernel's WireGuard: cargo xtask test runs it in a VM"]
async fn an_interface_that_is_gone_or_made_anew_is_down() {
    let gate = gate().await;
    sh("ip link delete wg0; ip link add wg0 type wireguard");
    assert!(gate.install(vec![peer(1, psk(1))]).await.is_err());
    assert_eq!(sh("wg show wg0 peers"), "");
    gate.fence().await.unwrap();
    drop(gate);
    assert!(exists("wg0"), "someone else's interface is gone");
    sh("ip link delete wg0");
}

#[tokio::test]
#[ignore = "needs the kernel's WireGuard: cargo xtask test runs it in a VM"]
async fn what_can_not_be_made_is_said_and_leaves_nothing() {
    let first = gate().await;
    let make = |name: &str| KernelInterface::builder(name, PrivateKey::from_bytes([8; 32]));

    let taken = make("wg0").create().await.unwrap_err();
    assert!(taken.code() == "kernel-name-in-use", "{taken}");
    assert_eq!(
        sh("wg show wg0 public-key").trim(),
        first.public_key().to_string()
    );

    let port = make("wg1")
        .listen_port(first.listen_port())
        .create()
        .await
        .unwrap_err();
    assert!(port.code() == "kernel-port-in-use", "{port}");
    assert!(!exists("wg1"));

    let large = make("wg1").mtu(u32::MAX).create().await.unwrap_err();
    assert!(large.code() == "invalid-mtu", "{large}");
    let group = "224.0.0.1/32".parse().unwrap();
    let odd = make("wg1").address(group).create().await.unwrap_err();
    assert!(odd.code() == "kernel-address", "{odd}");
    assert!(!exists("wg1"));

    for name in ["", "a/b", "an interface", "a-name-of-16-byt", ".."] {
        let name = make(name).create().await.unwrap_err();
        assert!(name.code() == "kernel-name", "{name}");
    }
}

#[tokio::test]
#[ignore = "needs the kernel's WireGuard: cargo xtask test runs it in a VM"]
async fn an_interface_has_its_addresses_of_ipv4_where_ipv6_is_off() {
    let switch = |off: u8| {
        for which in ["all", "default"] {
            let setting = format!("/proc/sys/net/ipv6/conf/{which}/disable_ipv6");
            std::fs::write(setting, off.to_string()).unwrap();
        }
    };
    let make = |addresses: &[&str]| {
        let mut builder = KernelInterface::builder("wg0", PrivateKey::from_bytes(GATE));
        for address in addresses {
            builder = builder.address(address.parse().unwrap());
        }
        builder
    };
    switch(1);
    let both = make(&["10.9.0.1/24", "fd00::1/64"]).create().await;
    switch(0);
    let both = both.unwrap();
    assert!(sh("ip address show wg0").contains("10.9.0.1/24"));
    assert_eq!(both.left_out(), ["fd00::1/64".parse().unwrap()]);
    drop(both);

    switch(1);
    let alone = make(&["fd00::1/64"]).create().await;
    switch(0);
    let alone = alone.unwrap_err().to_string();
    assert!(alone.contains("IPv6 is switched off"), "{alone}");
    assert!(!exists("wg0"));
}

#[tokio::test]
#[ignore = "needs the kernel's WireGuard: cargo xtask test runs it in a VM"]
async fn what_can_not_be_adopted_is_said() {
    let none = KernelInterface::adopt("wg9").await.unwrap_err();
    assert!(none.code() == "kernel-missing", "{none}");
    sh("ip link add dummy9 type dummy; ip link add wg9 type wireguard");
    let dummy = KernelInterface::adopt("dummy9").await.unwrap_err();
    assert!(dummy.code() == "kernel-not-wire-guard", "{dummy}");
    let keyless = KernelInterface::adopt("wg9").await.unwrap_err();
    assert!(keyless.code() == "kernel-no-key", "{keyless}");
    sh("ip link delete dummy9; ip link delete wg9");
}

#[tokio::test]
#[ignore = "needs the kernel's WireGuard: cargo xtask test runs it in a VM"]
async fn a_user_without_privileges_is_told_so() {
    const ROLE: &str = "MFAGATE_TEST_NOBODY";
    if std::env::var_os(ROLE).is_some() {
        let made = KernelInterface::builder("wg1", PrivateKey::from_bytes(GATE))
            .create()
            .await;
        assert!(
            matches!(&made, Err(error) if error.code() == "kernel-no-privilege"),
            "{made:?}"
        );
        let adopted = KernelInterface::adopt("wg0").await;
        assert!(
            matches!(&adopted, Err(error) if error.code() == "kernel-no-privilege"),
            "{adopted:?}"
        );
        return;
    }
    let _gate = gate().await;
    let name = "lifecycle::a_user_without_privileges_is_told_so";
    let ran = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", name])
        .env(ROLE, "1")
        .uid(65_534)
        .gid(65_534)
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(
        ran.status.success() && printed.contains("1 passed"),
        "{printed}"
    );
    assert!(!exists("wg1"));
}

#[tokio::test]
#[ignore = "needs the kernel's WireGuard: cargo xtask test runs it in a VM"]
async fn a_kernel_without_wireguard_is_told_so() {
    sh("cat /proc/sys/kernel/modprobe >/tmp/modprobe");
    sh("echo /bin/false >/proc/sys/kernel/modprobe; rmmod wireguard");
    let made = KernelInterface::builder("wg1", PrivateKey::from_bytes(GATE))
        .create()
        .await;
    sh("cat /tmp/modprobe >/proc/sys/kernel/modprobe; modprobe wireguard");
    assert!(
        matches!(&made, Err(error) if error.code() == "kernel-no-wire-guard"),
        "{made:?}"
    );
}
