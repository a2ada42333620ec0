import Foundation
internal import MFAGateFFI

/// A question to the user.
public struct AuthChallenge: Sendable {
    /// The factor that is asked for; nil while one is being enrolled.
    public let factor: Offer?
    /// What to answer.
    public let challenge: Challenge
    /// The factors that would do in its place.
    public let others: [Offer]
    /// Why the answer before was refused, and what is left.
    public let denied: Denied?
    /// How long there is to answer.
    public let expiresIn: Duration
}

/// A factor that may be used now.
public struct Offer: Sendable, Codable, Hashable {
    /// The factor.
    public let factor: String
    /// Its kind, such as `totp`.
    public let kind: String
    /// The label that the user gave it: "phone".
    public let label: String
    /// For how long answers are refused from now on; nil where they are not.
    public let lockedFor: Duration?
}

/// What to answer.
public enum Challenge: Sendable {
    /// A code that the user's device shows.
    case code(digits: Int)
    /// A code that was sent out of band, to an address that is given in part.
    case sentCode(digits: Int, sentTo: String, goodFor: Duration, resendIn: Duration)
    /// One of the user's recovery codes.
    case recoveryCode(left: Int)
    /// A password or PIN.
    case password
    /// A device key's signature, for which the app has brought no signer, or that of another key.
    case signature(keyID: String)
    /// A passkey or a security key, for which the app has brought no provider.
    case webAuthn
    /// A login at an OpenID provider: on another device, or by a workload's ID token.
    case openID(issuer: String, onOtherDevice: Bool, workloadAudience: String?, workloadNonce: String?)
    /// A login on another device: show this, and answer with ``Response/poll``.
    case deviceGrant(
        verificationURI: String, verificationURIComplete: String?, userCode: String,
        interval: Duration)
    /// Enrolling: an `otpauth://` URI, to show as a QR code; answered by a first right code.
    case registerTOTP(uri: Secret, digits: Int)
    /// Enrolling: a device key, for which the app has brought no signer.
    case registerKey(protection: Protection)
    /// Enrolling: a passkey or a security key, for which the app has brought no provider.
    case registerWebAuthn
    /// Enrolling: a new password or PIN of at least so many characters.
    case choosePassword(shortest: Int)
    /// Enrolling: recovery codes, shown this once; answered by one of them, which stays good.
    case keepRecoveryCodes([Secret])
    /// Enrolling: an address for codes; answered by the address.
    case address
    /// Something that this version does not know: choose another factor, or give up.
    case unknown
}

/// How a device key is kept.
public enum Protection: String, Sendable, Codable {
    /// In a file or in memory.
    case software
    /// In hardware that does not give it away.
    case hardware
    /// In hardware that verifies its user, by a biometric or a PIN, before each use.
    case hardwareUserVerified
}

/// Why an answer was refused, and what is left.
public struct Denied: Sendable, Codable, Hashable {
    /// Why an answer was refused.
    public enum Reason: String, Sendable, Codable {
        /// It is wrong.
        case wrong
        /// It was right once, and has been used.
        case replayed
        /// The factor is locked for a while: the answer was not looked at.
        case locked
        /// The factor is disabled until an administrator resets it.
        case disabled
        /// The answer does not fit the challenge, or the chosen factor is not on offer.
        case unfit
        /// It came too late: choose the factor again for a fresh challenge.
        case expired
        /// Asked too often: not before the time given.
        case busy
        /// Another sign-in changed the factor meanwhile: answer again.
        case overtaken
        /// For a reason that this version does not know.
        case unknown
    }

    /// Why.
    public let reason: Reason
    /// How many more failures cost no wait.
    public let triesLeft: Int
    /// How long answers to this factor are refused from now on; nil where they are not.
    public let lockedFor: Duration?
}

/// What the user does about a question.
public struct Response: Sendable {
    let inner: MFAGateFFI.Response

    /// A one-time code as the user typed it, with or without spaces.
    public static func code(_ typed: String) throws -> Response {
        let code = try translating { try MFAGateFFI.Code.parse(text: typed) }
        return Response(inner: .code(code: code))
    }

    /// A recovery code.
    public static func recoveryCode(_ code: Secret) -> Response {
        Response(inner: .recoveryCode(code: code.inner))
    }

    /// A password or PIN, also one to be.
    public static func password(_ password: Secret) -> Response {
        Response(inner: .password(password: password.inner))
    }

    /// An address for codes.
    public static func address(_ address: Secret) -> Response {
        Response(inner: .address(address: address.inner))
    }

    /// A workload's ID token, in its compact form.
    public static func idToken(_ token: Secret) -> Response {
        Response(inner: .idToken(token: token.inner))
    }

    /// The user wants to log in on another device.
    public static let beginDeviceGrant = Response(inner: .beginDeviceGrant)

    /// Ask whether that has been done.
    public static let poll = Response(inner: .poll)

    /// Would rather be asked for this factor; or, with the current one, asks for a fresh challenge.
    public static func choose(_ offer: Offer) -> Response {
        Response(inner: .choose(factor: offer.factor))
    }
}

extension Response: Redacted {}

extension AuthChallenge {
    init(_ asked: MFAGateFFI.AuthChallenge) {
        self.init(
            factor: asked.factor.map(Offer.init), challenge: Challenge(asked.challenge),
            others: asked.others.map(Offer.init), denied: asked.denied.map(Denied.init),
            expiresIn: Duration(milliseconds: asked.expiresInMs))
    }
}

extension Offer {
    init(_ offer: MFAGateFFI.Offer) {
        self.init(
            factor: offer.factor, kind: offer.kind, label: offer.label,
            lockedFor: offer.lockedForMs.map(Duration.init(milliseconds:)))
    }
}

extension Challenge {
    init(_ challenge: MFAGateFFI.Challenge) {
        switch challenge {
        case let .code(digits): self = .code(digits: Int(digits))
        case let .sentCode(digits, sentTo, goodForMs, resendInMs):
            self = .sentCode(
                digits: Int(digits), sentTo: sentTo, goodFor: Duration(milliseconds: goodForMs),
                resendIn: Duration(milliseconds: resendInMs))
        case let .recoveryCode(left): self = .recoveryCode(left: Int(left))
        case .password: self = .password
        case let .signature(keyId): self = .signature(keyID: keyId)
        case .webAuthn: self = .webAuthn
        case let .openId(issuer, device, audience, nonce):
            self = .openID(
                issuer: issuer, onOtherDevice: device, workloadAudience: audience,
                workloadNonce: nonce)
        case let .deviceGrant(uri, complete, userCode, intervalMs):
            self = .deviceGrant(
                verificationURI: uri, verificationURIComplete: complete, userCode: userCode,
                interval: Duration(milliseconds: intervalMs))
        case let .registerTotp(uri, digits):
            self = .registerTOTP(uri: Secret(uri), digits: Int(digits))
        case let .registerKey(protection): self = .registerKey(protection: Protection(protection))
        case .registerWebAuthn: self = .registerWebAuthn
        case let .choosePassword(shortest): self = .choosePassword(shortest: Int(shortest))
        case let .keepRecoveryCodes(codes): self = .keepRecoveryCodes(codes.map(Secret.init))
        case .address: self = .address
        case .unknown: self = .unknown
        }
    }
}

extension Protection {
    init(_ protection: MFAGateFFI.Protection) {
        switch protection {
        case .software: self = .software
        case .hardware: self = .hardware
        case .hardwareUserVerified: self = .hardwareUserVerified
        }
    }

    var inner: MFAGateFFI.Protection {
        switch self {
        case .software: .software
        case .hardware: .hardware
        case .hardwareUserVerified: .hardwareUserVerified
        }
    }
}

extension Denied {
    init(_ denied: MFAGateFFI.Denied) {
        let reason: Reason =
            switch denied.reason {
            case .wrong: .wrong
            case .replayed: .replayed
            case .locked: .locked
            case .disabled: .disabled
            case .unfit: .unfit
            case .expired: .expired
            case .busy: .busy
            case .overtaken: .overtaken
            case .unknown: .unknown
            }
        self.init(
            reason: reason, triesLeft: Int(denied.triesLeft),
            lockedFor: denied.lockedForMs.map(Duration.init(milliseconds:)))
    }
}
