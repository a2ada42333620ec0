import Foundation
internal import MFAGateFFI

/// Bytes, or a text, that are not for other eyes. It prints nothing, and its memory is wiped when it
/// is let go of; copies that were taken out of it are their takers' to wipe.
public struct Secret: Sendable {
    let inner: MFAGateFFI.SecretBytes

    init(_ inner: MFAGateFFI.SecretBytes) {
        self.inner = inner
    }

    /// A secret of these bytes.
    public init(bytes: Data) throws {
        inner = try translating { try MFAGateFFI.SecretBytes(bytes: bytes) }
    }

    /// A secret that is a text, such as a password.
    public init(text: String) throws {
        inner = try translating { try MFAGateFFI.SecretBytes.fromText(text: text) }
    }

    /// The bytes. The caller is responsible for where they go.
    public func exposeBytes() throws -> Data {
        try translating { try inner.expose() }
    }

    /// The text. The caller is responsible for where it goes.
    public func exposeText() throws -> String {
        try translating { try inner.exposeText() }
    }
}

/// The app's key that seals saved sessions. It belongs in a keychain that app and extension share.
public struct HandoverKey: Sendable {
    let secret: Secret

    /// A fresh key.
    public init() throws {
        secret = Secret(try translating { try MFAGateFFI.SecretBytes.generateHandoverKey() })
    }

    /// A key from its 32 bytes.
    public init(bytes: Data) throws {
        guard bytes.count == 32 else {
            throw GateError(
                kind: .fault, code: "invalid-key",
                explanation: "a key for saved sessions has 32 bytes", isRetryable: false)
        }
        secret = try Secret(bytes: bytes)
    }

    /// The bytes, for the keychain. The caller is responsible for where they go.
    public func exposeBytes() throws -> Data {
        try secret.exposeBytes()
    }
}

/// A live session, sealed: for another client of this device, in another process or a later one.
/// It may be kept where others can read it; its ``HandoverKey`` may not.
public struct SavedSession: Sendable, Codable, Hashable {
    /// The sealed bytes. Their first one is the version of their form.
    public let data: Data

    /// A saved session from its bytes. Whether it opens shows when it is resumed.
    public init(data: Data) {
        self.data = data
    }
}

/// Prints a type's name and nothing of what is in it, also where Swift reflects on it.
protocol Redacted: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {}

extension Redacted {
    public var description: String { "\(Self.self)([redacted])" }
    public var debugDescription: String { description }
    public var customMirror: Mirror { Mirror(self, children: []) }
}

extension Secret: Redacted {}
extension HandoverKey: Redacted {}
extension SavedSession: Redacted {}
