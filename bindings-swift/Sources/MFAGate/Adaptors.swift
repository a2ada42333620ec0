import Foundation
internal import MFAGateFFI

// The app's code as the library calls it. All that it throws becomes a refusal here: nothing else
// reaches Rust.

/// Runs the app's code and gives what it threw as the library's own error.
private func refusing<T: Sendable>(_ call: () async throws -> T) async throws -> T {
    do {
        return try await call()
    } catch let error as CallbackError {
        throw error.inner
    } catch is CancellationError {
        throw MFAGateFFI.CallbackError.Cancelled
    } catch {
        throw MFAGateFFI.CallbackError.Failed(what: "the app's code threw \(type(of: error))")
    }
}

extension CallbackError {
    fileprivate var inner: MFAGateFFI.CallbackError {
        switch self {
        case .cancelled: .Cancelled
        case .timedOut: .TimedOut
        case .notAvailable: .NotAvailable
        case .lockedOut: .LockedOut
        case .refused: .Refused
        case .invalidated: .Invalidated
        case let .failed(what): .Failed(what: what)
        }
    }
}

final class TransportAdaptor: MFAGateFFI.Transport {
    private let transport: any Transport

    init(_ transport: any Transport) {
        self.transport = transport
    }

    func post(url: String, contentType: String, body: Data) async throws -> MFAGateFFI.HttpResponse {
        try await refusing {
            guard let address = URL(string: url) else {
                throw CallbackError.failed("the control URL is none for this platform")
            }
            let response = try await transport.post(address, contentType: contentType, body: body)
            return MFAGateFFI.HttpResponse(
                status: response.status, contentType: response.contentType, body: response.body)
        }
    }
}

final class TunnelAdaptor: MFAGateFFI.Tunnel {
    private let tunnel: any Tunnel

    init(_ tunnel: any Tunnel) {
        self.tunnel = tunnel
    }

    func up(config: MFAGateFFI.TunnelConfig) async throws {
        try await refusing { try await tunnel.up(TunnelConfig(config)) }
    }

    func renew(config: MFAGateFFI.TunnelConfig) async throws {
        try await refusing { try await tunnel.renew(TunnelConfig(config)) }
    }

    func down() async throws {
        try await refusing { try await tunnel.down() }
    }

    func traffic() async throws -> MFAGateFFI.Traffic? {
        try await refusing { try await tunnel.traffic()?.inner }
    }
}

extension Authenticators {
    var inner: MFAGateFFI.Authenticators {
        MFAGateFFI.Authenticators(
            code: code.map(CodePromptAdaptor.init), deviceKey: deviceKey.map(SignerAdaptor.init),
            passkey: passkey.map(PasskeyAdaptor.init), browser: browser.map(BrowserAdaptor.init))
    }
}

private final class CodePromptAdaptor: MFAGateFFI.CodePrompt {
    private let prompt: any CodePrompt

    init(_ prompt: any CodePrompt) {
        self.prompt = prompt
    }

    func answer(challenge: MFAGateFFI.AuthChallenge) async throws -> MFAGateFFI.Response? {
        try await refusing { try await prompt.answer(AuthChallenge(challenge))?.inner }
    }
}

private final class SignerAdaptor: MFAGateFFI.DeviceKeySigner {
    private let signer: any DeviceKeySigner

    init(_ signer: any DeviceKeySigner) {
        self.signer = signer
    }

    func publicKey() async throws -> MFAGateFFI.DeviceKey {
        try await refusing {
            let key = try await signer.publicKey()
            return MFAGateFFI.DeviceKey(
                publicKey: key.publicKey, protection: key.protection.inner,
                attestation: key.attestation)
        }
    }

    func sign(data: Data) async throws -> Data {
        try await refusing { try await signer.sign(data) }
    }
}

private final class PasskeyAdaptor: MFAGateFFI.PasskeyProvider {
    private let provider: any PasskeyProvider

    init(_ provider: any PasskeyProvider) {
        self.provider = provider
    }

    func get(options: String) async throws -> MFAGateFFI.SecretBytes? {
        try await refusing { try await provider.get(options: options)?.inner }
    }

    func create(options: String) async throws -> MFAGateFFI.SecretBytes? {
        try await refusing { try await provider.create(options: options)?.inner }
    }
}

private final class BrowserAdaptor: MFAGateFFI.BrowserLogin {
    private let browser: any BrowserLogin

    init(_ browser: any BrowserLogin) {
        self.browser = browser
    }

    func redirectUri() async throws -> String {
        browser.redirectURI
    }

    func open(url: String) async throws -> MFAGateFFI.SecretBytes? {
        try await refusing { try await browser.open(url)?.inner }
    }
}
