// swift-tools-version: 6.0
import PackageDescription

/// A story: a program that uses the package and this device.
func story(_ name: String) -> Target {
    .executableTarget(
        name: name, dependencies: ["Device", .product(name: "MFAGate", package: "bindings-swift")])
}

let package = Package(
    name: "Stories",
    platforms: [.macOS(.v13)],
    dependencies: [.package(path: "../../bindings-swift")],
    targets: [
        // What an app has of its own: a WireGuard, a key, a place to keep things.
        .target(name: "Device", dependencies: [.product(name: "MFAGate", package: "bindings-swift")]),
        story("Connect"), story("DeviceKey"), story("Events"), story("Resume"),
    ]
)
