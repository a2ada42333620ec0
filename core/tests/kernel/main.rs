//! The kernel's WireGuard under the backend.

#[test]
#[ignore = "needs the kernel's WireGuard: cargo xtask test runs it in a VM"]
fn the_machine_has_the_kernels_wireguard() {
    let made = std::process::Command::new("ip")
        .args(["link", "add", "wg9", "type", "wireguard"])
        .status();
    assert!(made.unwrap().success());
}
