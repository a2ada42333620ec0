import Foundation
import MFAGate

/// A tunnel on Linux: `wireguard-go`, set by `wg` and `ip`. Needs CAP_NET_ADMIN. An app for iOS has
/// WireGuardKit's adapter in its place: bindings-swift/README.md says how.
public actor WireGuardGo: Tunnel {
    private let name: String

    public init(_ name: String = "wg-story") {
        self.name = name
    }

    public func up(_ config: TunnelConfig) async throws {
        try? await down()  // what another left, if anything
        // It goes on in the background, and must not hold what is read from here.
        let start = "wireguard-go -f \"$0\" >/dev/null 2>&1 </dev/null & "
        let wait = "timeout 10 sh -c 'until [ -S /var/run/wireguard/$0.sock ]; do sleep 0.05; done' \"$0\""
        try run("sh", ["-c", start + wait, name])
        try run("wg", ["setconf", name, "/dev/stdin"], input: try wgLines(of: config))
        for address in config.addresses {
            try run("ip", ["address", "add", address, "dev", name])
        }
        try run("ip", ["link", "set", name, "mtu", String(config.mtu ?? 1420), "up"])
        for network in config.allowedIPs {
            try run("ip", ["route", "replace", network, "dev", name])
        }
    }

    public func renew(_ config: TunnelConfig) async throws {
        try run("wg", ["syncconf", name, "/dev/stdin"], input: try wgLines(of: config))
    }

    public func down() async throws {
        guard (try? run("ip", ["link", "show", name])) != nil else { return }
        try run("ip", ["link", "delete", name])
    }

    public func traffic() async throws -> Traffic? {
        guard let dump = try? run("wg", ["show", name, "dump"]) else { return nil }
        guard let peer = dump.split(separator: "\n").dropFirst().first else { return nil }
        // Key, preshared key, endpoint, allowed IPs, handshake, received, sent, keepalive.
        let fields = peer.split(separator: "\t")
        guard fields.count == 8, let handshake = TimeInterval(fields[4]),
            let received = UInt64(fields[5]), let sent = UInt64(fields[6])
        else { throw CallbackError.failed("`wg show` says what is not understood") }
        let last = handshake == 0 ? nil : Date(timeIntervalSince1970: handshake)
        return Traffic(lastHandshake: last, received: received, sent: sent)
    }

    /// The lines that `wg` knows of a file for `wg-quick`.
    private func wgLines(of config: TunnelConfig) throws -> String {
        let quick = try config.wgQuick().exposeText().split(separator: "\n")
        let others = ["Address", "DNS", "MTU"]
        return quick.filter { line in !others.contains { line.hasPrefix($0) } }
            .joined(separator: "\n") + "\n"
    }
}

/// Runs a program that must succeed; gives what it printed. Its words are not repeated: a key could be
/// among them.
@discardableResult
func run(_ program: String, _ arguments: [String], input: String = "") throws -> String {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = [program] + arguments
    let (from, to) = (Pipe(), Pipe())
    process.standardInput = to
    process.standardOutput = from
    process.standardError = FileHandle.nullDevice
    try process.run()
    try to.fileHandleForWriting.write(contentsOf: Data(input.utf8))
    try to.fileHandleForWriting.close()
    let printed = from.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    guard process.terminationStatus == 0 else {
        throw CallbackError.failed("`\(program)` failed (\(process.terminationStatus))")
    }
    return String(decoding: printed, as: UTF8.self)
}
