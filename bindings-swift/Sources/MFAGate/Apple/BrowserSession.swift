#if canImport(AuthenticationServices)
    import AuthenticationServices
    import Foundation

    /// A login in the system's browser, by `ASWebAuthenticationSession`.
    public struct BrowserSession: BrowserLogin {
        public let redirectURI: String
        private let scheme: String
        private let anchor: @MainActor @Sendable () -> ASPresentationAnchor

        /// A login that comes back to a scheme of the app's own, such as `com.example.app:/callback`. The
        /// anchor is the window that the browser is shown over.
        public init(
            redirectURI: String, anchor: @escaping @MainActor @Sendable () -> ASPresentationAnchor
        ) {
            self.redirectURI = redirectURI
            scheme = String(redirectURI.prefix { $0 != ":" })
            self.anchor = anchor
        }

        public func open(_ url: String) async throws -> Secret? {
            guard let address = URL(string: url) else { throw CallbackError.notAvailable }
            let returned = try await BrowserWindow(anchor).open(address, scheme: scheme)
            return try returned.map { try Secret(text: $0.absoluteString) }
        }
    }

    @MainActor
    private final class BrowserWindow: NSObject, ASWebAuthenticationPresentationContextProviding {
        private let anchor: @MainActor @Sendable () -> ASPresentationAnchor
        private var session: ASWebAuthenticationSession?

        init(_ anchor: @escaping @MainActor @Sendable () -> ASPresentationAnchor) {
            self.anchor = anchor
        }

        func open(_ url: URL, scheme: String) async throws -> URL? {
            defer { session = nil }
            return try await withTaskCancellationHandler {
                try await withCheckedThrowingContinuation { continuation in
                    let session = ASWebAuthenticationSession(url: url, callbackURLScheme: scheme) {
                        address, error in
                        if (error as? ASWebAuthenticationSessionError)?.code == .canceledLogin {
                            continuation.resume(returning: nil)
                        } else if let address {
                            continuation.resume(returning: address)
                        } else {
                            continuation.resume(throwing: CallbackError.notAvailable)
                        }
                    }
                    session.presentationContextProvider = self
                    self.session = session
                    session.start()
                }
            } onCancel: {
                Task { @MainActor in self.session?.cancel() }
            }
        }

        func presentationAnchor(for session: ASWebAuthenticationSession) -> ASPresentationAnchor {
            anchor()
        }
    }
#endif
