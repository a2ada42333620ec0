#if canImport(AuthenticationServices)
    import AuthenticationServices
    import Foundation
    internal import MFAGateFFI

    /// The platform's passkeys. The app needs the associated domain `webcredentials:` of the gate's
    /// relying party.
    public struct Passkeys: PasskeyProvider {
        private let anchor: @MainActor @Sendable () -> ASPresentationAnchor

        /// Passkeys that are asked for over this window.
        public init(anchor: @escaping @MainActor @Sendable () -> ASPresentationAnchor) {
            self.anchor = anchor
        }

        public func get(options: String) async throws -> Secret? {
            let options = try translating { try readAssertionOptions(options: options) }
            let provider = ASAuthorizationPlatformPublicKeyCredentialProvider(
                relyingPartyIdentifier: options.rpId)
            let request = provider.createCredentialAssertionRequest(challenge: options.challenge)
            request.allowedCredentials = options.credentials.map {
                ASAuthorizationPlatformPublicKeyCredentialDescriptor(credentialID: $0)
            }
            let credential = try await PasskeySheet(anchor).perform(request)
            guard let credential = credential as? ASAuthorizationPlatformPublicKeyCredentialAssertion
            else { return nil }
            return Secret(
                try translating {
                    try assertionCredential(
                        credentialId: credential.credentialID,
                        clientDataJson: credential.rawClientDataJSON,
                        authenticatorData: credential.rawAuthenticatorData,
                        signature: credential.signature, userHandle: credential.userID)
                })
        }

        public func create(options: String) async throws -> Secret? {
            let options = try translating { try readCreationOptions(options: options) }
            let provider = ASAuthorizationPlatformPublicKeyCredentialProvider(
                relyingPartyIdentifier: options.rpId)
            let request = provider.createCredentialRegistrationRequest(
                challenge: options.challenge, name: options.userName, userID: options.userHandle)
            let credential = try await PasskeySheet(anchor).perform(request)
            guard let credential = credential as? ASAuthorizationPlatformPublicKeyCredentialRegistration,
                let attestation = credential.rawAttestationObject
            else { return nil }
            return Secret(
                try translating {
                    try attestationCredential(
                        credentialId: credential.credentialID,
                        clientDataJson: credential.rawClientDataJSON, attestationObject: attestation)
                })
        }
    }

    @MainActor
    private final class PasskeySheet: NSObject, ASAuthorizationControllerDelegate,
        ASAuthorizationControllerPresentationContextProviding
    {
        private let anchor: @MainActor @Sendable () -> ASPresentationAnchor
        private var continuation: CheckedContinuation<ASAuthorizationCredential?, any Error>?
        private var controller: ASAuthorizationController?

        init(_ anchor: @escaping @MainActor @Sendable () -> ASPresentationAnchor) {
            self.anchor = anchor
        }

        /// Nil where the user gave up.
        func perform(_ request: ASAuthorizationRequest) async throws -> ASAuthorizationCredential? {
            try await withTaskCancellationHandler {
                try await withCheckedThrowingContinuation { continuation in
                    self.continuation = continuation
                    let controller = ASAuthorizationController(authorizationRequests: [request])
                    controller.delegate = self
                    controller.presentationContextProvider = self
                    self.controller = controller
                    controller.performRequests()
                }
            } onCancel: {
                Task { @MainActor in self.controller?.cancel() }
            }
        }

        func authorizationController(
            controller: ASAuthorizationController,
            didCompleteWithAuthorization authorization: ASAuthorization
        ) {
            finish(.success(authorization.credential))
        }

        func authorizationController(
            controller: ASAuthorizationController, didCompleteWithError error: any Error
        ) {
            let isCancelled = (error as? ASAuthorizationError)?.code == .canceled
            finish(isCancelled ? .success(nil) : .failure(CallbackError.notAvailable))
        }

        func presentationAnchor(for controller: ASAuthorizationController) -> ASPresentationAnchor {
            anchor()
        }

        private func finish(_ result: Result<ASAuthorizationCredential?, any Error>) {
            continuation?.resume(with: result)
            continuation = nil
            controller = nil
        }
    }
#endif
