// swift-tools-version: 6.0
import PackageDescription

// The Rust library. On Linux it is found by the linker (`-Xlinker -L…`); for Apple's platforms it
// comes as a dynamic framework, since two static libraries of UniFFI's can't be in one app.
#if os(Linux)
    let library: Target = .systemLibrary(name: "CMFAGate")
    let privacy: [Resource] = []
    let left: [String] = ["PrivacyInfo.xcprivacy"]
#else
    let library: Target = .binaryTarget(name: "CMFAGate", path: "CMFAGate.xcframework")
    let privacy: [Resource] = [.copy("PrivacyInfo.xcprivacy")]
    let left: [String] = []
#endif

let package = Package(
    name: "MFAGate",
    platforms: [.iOS(.v16), .macOS(.v13)],
    products: [.library(name: "MFAGate", targets: ["MFAGate"])],
    targets: [
        library,
        // What UniFFI writes does not compile in Swift 6 mode.
        .target(
            name: "MFAGateFFI",
            dependencies: ["CMFAGate"],
            swiftSettings: [.swiftLanguageMode(.v5)],
            linkerSettings: [.linkedLibrary("mfagate_ffi", .when(platforms: [.linux]))]
        ),
        .target(name: "MFAGate", dependencies: ["MFAGateFFI"], exclude: left, resources: privacy),
        .testTarget(name: "MFAGateTests", dependencies: ["MFAGate"]),
    ]
)
