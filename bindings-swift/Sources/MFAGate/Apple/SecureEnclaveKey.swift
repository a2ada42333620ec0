#if canImport(CryptoKit) && canImport(LocalAuthentication)
    import CryptoKit
    import Foundation
    import LocalAuthentication
    import Security

    /// A P-256 key in the Secure Enclave. With user verification it signs only after Touch ID or Face ID,
    /// and is lost when the enrolled fingers or faces change.
    public struct SecureEnclaveKey: DeviceKeySigner {
        /// The key for the keychain: encrypted by this device's Secure Enclave, worth nothing elsewhere.
        public let stored: Data
        private let isUserVerified: Bool
        /// What the system says when it asks for a finger or a face.
        private let reason: String

        /// Makes a key.
        public static func make(verifyingUser isUserVerified: Bool = true, reason: String) throws -> Self {
            var flags: SecAccessControlCreateFlags = [.privateKeyUsage]
            if isUserVerified {
                flags.insert(.biometryCurrentSet)
            }
            let access = SecAccessControlCreateWithFlags(
                nil, kSecAttrAccessibleWhenUnlockedThisDeviceOnly, flags, nil)
            guard let access else { throw CallbackError.notAvailable }
            let key = try SecureEnclave.P256.Signing.PrivateKey(accessControl: access)
            return Self(stored: key.dataRepresentation, verifyingUser: isUserVerified, reason: reason)
        }

        /// A key that was made before.
        public init(stored: Data, verifyingUser isUserVerified: Bool = true, reason: String) {
            self.stored = stored
            self.isUserVerified = isUserVerified
            self.reason = reason
        }

        public func publicKey() async throws -> DeviceKey {
            let key = try key(LAContext())
            return DeviceKey(
                publicKey: key.publicKey.x963Representation,
                protection: isUserVerified ? .hardwareUserVerified : .hardware)
        }

        public func sign(_ data: Data) async throws -> Data {
            let context = LAContext()
            context.localizedReason = reason
            do {
                return try key(context).signature(for: data).derRepresentation
            } catch let error as LAError {
                switch error.code {
                case .userCancel, .appCancel, .systemCancel: throw CallbackError.cancelled
                case .biometryLockout: throw CallbackError.lockedOut
                case .authenticationFailed: throw CallbackError.refused
                default: throw CallbackError.notAvailable
                }
            }
        }

        private func key(_ context: LAContext) throws -> SecureEnclave.P256.Signing.PrivateKey {
            do {
                return try .init(dataRepresentation: stored, authenticationContext: context)
            } catch {
                throw CallbackError.invalidated
            }
        }
    }
#endif
