import Foundation
internal import MFAGateFFI

/// All that a client needs to know of its location, with the device's private key, which it does not
/// print. An administrator hands it out.
public struct Profile: Sendable {
    let inner: MFAGateFFI.Profile
    /// The location's name, for people.
    public let location: String
    /// The location's WireGuard public key, in Base64.
    public let locationKey: String
    /// The device's WireGuard public key, in Base64.
    public let publicKey: String
    /// The control URLs of the location's gates.
    public let control: [String]
    /// Where the location's WireGuard listens: a host and a port.
    public let endpoint: String
    /// The device's own addresses inside the tunnel, as networks.
    public let addresses: [String]
    /// What is routed into the tunnel, as networks.
    public let allowedIPs: [String]
    /// Resolvers inside the tunnel.
    public let dns: [String]
    /// The largest packet inside the tunnel, in bytes.
    public let mtu: UInt16?
    /// What ``Client/onboard(_:)`` enrols first.
    public let enrolment: EnrolRequest?

    /// Reads a profile from TOML, as an administrator hands it out.
    public init(toml: String) throws {
        let inner = try translating { try MFAGateFFI.Profile.fromToml(text: toml) }
        self.inner = inner
        location = try translating { try inner.location() }
        locationKey = try translating { try inner.locationKey() }
        publicKey = try translating { try inner.publicKey() }
        control = try translating { try inner.control() }
        endpoint = try translating { try inner.endpoint() }
        addresses = try translating { try inner.addresses() }
        allowedIPs = try translating { try inner.allowedIps() }
        dns = try translating { try inner.dns() }
        mtu = try translating { try inner.mtu() }
        enrolment = try translating { try inner.enrol() }.map(EnrolRequest.init)
    }

    /// The profile as TOML with its private key, and without what was to be enrolled first: for the
    /// keychain.
    public func exposeTOML() throws -> Secret {
        Secret(try translating { try inner.exposeToml() })
    }
}

extension Profile: Redacted {
    public var description: String { "Profile(\(location))" }
}

/// A factor to enrol.
public struct EnrolRequest: Sendable {
    /// Its kind, such as `totp` or `device-key`.
    public var kind: String
    /// A label for people: "phone".
    public var label: String
    /// A one-time enrolment token. Without one, the gate asks for the policy's factors first.
    public var token: Secret?

    public init(kind: String, label: String, token: Secret? = nil) {
        self.kind = kind
        self.label = label
        self.token = token
    }

    init(_ inner: MFAGateFFI.EnrolRequest) {
        self.init(kind: inner.kind, label: inner.label, token: inner.token.map(Secret.init))
    }

    var inner: MFAGateFFI.EnrolRequest {
        MFAGateFFI.EnrolRequest(kind: kind, label: label, token: token?.inner)
    }
}

/// A fresh WireGuard key pair of this device: the private half need never leave it.
public struct DeviceIdentity: Sendable {
    /// The public half, in Base64, for the administrator.
    public let publicKey: String
    /// The private half, in Base64, for the profile.
    public let privateKey: Secret

    public init() throws {
        let made = try translating { try generateDeviceIdentity() }
        publicKey = made.publicKey
        privateKey = Secret(made.privateKey)
    }
}

/// How a client behaves. What is nil is as the library has it.
public struct Settings: Sendable, Codable, Hashable {
    /// How long before a lease's end the client warns.
    public var warnBefore: Duration?
    /// Whether leases are renewed without being asked, as far as no factor is needed.
    public var renewsAutomatically = true
    /// Whether the app reports wake-ups, changes of the network and traffic, so that the client need
    /// not wake the device to look.
    public var isQuiet = false
    /// How long one call of the app's transport or tunnel may take. A longer one counts as failed.
    public var callbackTimeout: Duration?
    /// How long a signing out is waited for.
    public var signOutTimeout: Duration?
    /// What to tell the gate's authoriser of this device, such as its system's version.
    public var posture: [String: String] = [:]

    public init() {}

    var inner: MFAGateFFI.ClientSettings {
        MFAGateFFI.ClientSettings(
            warnBeforeMs: warnBefore?.wholeMilliseconds, renewsAutomatically: renewsAutomatically,
            isQuiet: isQuiet, callbackTimeoutMs: callbackTimeout?.wholeMilliseconds,
            signOutTimeoutMs: signOutTimeout?.wholeMilliseconds,
            posture: posture.isEmpty ? nil : posture)
    }
}
