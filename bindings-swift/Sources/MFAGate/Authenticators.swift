import Foundation
internal import MFAGateFFI

/// What an app can prove its user's factors with. What it does not bring is asked by `code`, which may
/// choose another factor.
public struct Authenticators: Sendable {
    /// Asks the user for codes and passwords, and for all that the others are not there for.
    public var code: (any CodePrompt)?
    /// Signs with a key of the device's.
    public var deviceKey: (any DeviceKeySigner)?
    /// Asks for a passkey or a security key.
    public var passkey: (any PasskeyProvider)?
    /// Logs in at an OpenID provider in the system's browser.
    public var browser: (any BrowserLogin)?

    public init(
        code: (any CodePrompt)? = nil, deviceKey: (any DeviceKeySigner)? = nil,
        passkey: (any PasskeyProvider)? = nil, browser: (any BrowserLogin)? = nil
    ) {
        self.code = code
        self.deviceKey = deviceKey
        self.passkey = passkey
        self.browser = browser
    }

    /// Those of an app that asks its user by a function.
    public init(asking answer: @escaping @Sendable (AuthChallenge) async throws -> Response?) {
        self.init(code: AskingFunction(answer: answer))
    }
}

/// Asks the user.
public protocol CodePrompt: Sendable {
    /// Asks for an answer; nil means that the user gave up. It may take as long as the challenge is
    /// good. Its task is cancelled when the attempt ends without the user: close the window then.
    ///
    /// What it throws gives the attempt up.
    func answer(_ challenge: AuthChallenge) async throws -> Response?
}

/// A key that never leaves the device.
public protocol DeviceKeySigner: Sendable {
    /// The key's public half, and how the key is kept.
    func publicKey() async throws -> DeviceKey

    /// Signs these bytes: ES256, hashed with SHA-256 here, as ASN.1 DER; or the 64 bytes of Ed25519.
    /// May ask the user for a finger, a face or a PIN.
    func sign(_ data: Data) async throws -> Data
}

/// A device key's public half.
public struct DeviceKey: Sendable, Codable, Hashable {
    /// A DER SubjectPublicKeyInfo, or the 65 bytes of an uncompressed P-256 point.
    public let publicKey: Data
    /// How the key is kept: what the gate will be told. It proves nothing, so say what is true.
    public let protection: Protection
    /// What the platform states about the key, to be kept at the gate.
    public let attestation: Data?

    public init(publicKey: Data, protection: Protection, attestation: Data? = nil) {
        self.publicKey = publicKey
        self.protection = protection
        self.attestation = attestation
    }
}

/// The platform's passkeys.
public protocol PasskeyProvider: Sendable {
    /// Asks for an assertion, by options as JSON. Gives the credential as JSON; nil means that the
    /// user gave up.
    func get(options: String) async throws -> Secret?

    /// Makes a passkey, by options as JSON. Gives the credential as JSON; nil means that the user
    /// gave up.
    func create(options: String) async throws -> Secret?
}

/// The system's browser, never a web view of the app's own (RFC 8252, section 8.12).
public protocol BrowserLogin: Sendable {
    /// Where the provider sends the browser back to: the app's own link or scheme. The gate must
    /// offer it.
    var redirectURI: String { get }

    /// Opens the address and gives the whole one that the browser came back to; nil means that the
    /// user gave up.
    func open(_ url: String) async throws -> Secret?
}

/// What an app's own code may throw where it is called. Anything else that it throws counts as
/// ``failed(_:)``, without its text, since a secret could be in it.
///
/// Whatever it is, the answer is *no*: the attempt is given up, or the tunnel counts as down.
public enum CallbackError: Error, Sendable, Hashable {
    /// The user did not want to.
    case cancelled
    /// It took too long.
    case timedOut
    /// What is needed is not there now: a server, a key, the tunnel.
    case notAvailable
    /// The system refused the user for having failed too often.
    case lockedOut
    /// It was refused: a server's certificate was not accepted, the user was not recognised.
    case refused
    /// The key was given up by the system: enrol another.
    case invalidated
    /// Something else failed. The words appear in errors and logs: no secret may be in them.
    case failed(String)
}

struct AskingFunction: CodePrompt {
    let answer: @Sendable (AuthChallenge) async throws -> Response?

    func answer(_ challenge: AuthChallenge) async throws -> Response? {
        try await answer(challenge)
    }
}
