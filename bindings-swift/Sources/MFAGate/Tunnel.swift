import Foundation
internal import MFAGateFFI

/// The app's WireGuard interface. Calls come one at a time; one that is given up is followed by
/// ``down()``.
public protocol Tunnel: Sendable {
    /// Brings the tunnel up with exactly this configuration, in place of whatever was there.
    func up(_ config: TunnelConfig) async throws

    /// Changes the tunnel to a renewed configuration, without a gap in its traffic where the
    /// implementation can. The preshared key, the endpoint or both differ.
    func renew(_ config: TunnelConfig) async throws

    /// Takes the tunnel down. Returns when no more packets pass. Succeeds where it is down.
    func down() async throws

    /// What is known of the tunnel's traffic; nil where no tunnel is up, which ends the session.
    func traffic() async throws -> Traffic?
}

extension Tunnel {
    /// Brings it up again, for an implementation that can't change it.
    public func renew(_ config: TunnelConfig) async throws {
        try await up(config)
    }
}

/// The tunnel's traffic since it was brought up.
public struct Traffic: Sendable, Codable, Hashable {
    /// When the last handshake completed; nil before the first.
    public var lastHandshake: Date?
    /// Bytes that came from the gate.
    public var received: UInt64
    /// Bytes that went to the gate.
    public var sent: UInt64

    public init(lastHandshake: Date? = nil, received: UInt64 = 0, sent: UInt64 = 0) {
        self.lastHandshake = lastHandshake
        self.received = received
        self.sent = sent
    }

    var inner: MFAGateFFI.Traffic {
        MFAGateFFI.Traffic(
            lastHandshakeMs: lastHandshake?.wholeMilliseconds, received: received, sent: sent)
    }
}

/// What a tunnel is brought up with. It holds both keys and prints nothing of them.
public struct TunnelConfig: Sendable {
    let inner: MFAGateFFI.TunnelConfig
    /// The location's public key, in Base64.
    public let publicKey: String
    /// Where to send first, as an address and a port; nil leaves the tunnel waiting.
    public let endpoint: String?
    /// What is routed into the tunnel, as networks.
    public let allowedIPs: [String]
    /// The persistent keepalive in seconds; nil is off.
    public let keepaliveSeconds: UInt64?
    /// The device's own addresses inside the tunnel, as networks.
    public let addresses: [String]
    /// Resolvers inside the tunnel.
    public let dns: [String]
    /// The largest packet inside the tunnel, in bytes.
    public let mtu: UInt16?

    init(_ inner: MFAGateFFI.TunnelConfig) throws {
        self.inner = inner
        publicKey = try inner.publicKey()
        endpoint = try inner.endpoint()
        allowedIPs = try inner.allowedIps()
        keepaliveSeconds = try inner.keepaliveSeconds()
        addresses = try inner.addresses()
        dns = try inner.dns()
        mtu = try inner.mtu()
    }

    /// The device's private key: 32 bytes.
    public func privateKey() throws -> Secret {
        Secret(try translating { try inner.privateKey() })
    }

    /// The preshared key: 32 bytes.
    public func presharedKey() throws -> Secret {
        Secret(try translating { try inner.presharedKey() })
    }

    /// The text of a file for `wg-quick`, which WireGuardKit reads as well. It holds both keys.
    public func wgQuick() throws -> Secret {
        Secret(try translating { try inner.toWgQuick() })
    }

    /// The peer as lines of WireGuard's cross-platform configuration protocol, without the device's
    /// private key. It holds the preshared key.
    public func uapi() throws -> Secret {
        Secret(try translating { try inner.toUapi() })
    }
}

extension TunnelConfig: Redacted {
    public var description: String { "TunnelConfig(\(publicKey))" }
}
