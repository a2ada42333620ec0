import Foundation

// An app and its packet-tunnel extension are two processes. The app can show a window and runs the
// ceremony; the extension has the tunnel and holds the session. What joins them is a saved session.

/// Where the app's half leaves a session for the extension's half: in the app group's container.
public protocol SessionStore: Sendable {
    /// The saved session; nil where there is none.
    func load() async throws -> SavedSession?
    /// Keeps a saved session in place of the one before; nil keeps none.
    func save(_ saved: SavedSession?) async throws
}

/// A file. What is in it is sealed, so it needs no protection of its own.
public struct FileSessionStore: SessionStore {
    private let file: URL

    public init(file: URL) {
        self.file = file
    }

    public func load() async throws -> SavedSession? {
        guard FileManager.default.fileExists(atPath: file.path) else { return nil }
        return SavedSession(data: try Data(contentsOf: file))
    }

    public func save(_ saved: SavedSession?) async throws {
        if let saved {
            try saved.data.write(to: file, options: .atomic)
        } else if FileManager.default.fileExists(atPath: file.path) {
            try FileManager.default.removeItem(at: file)
        }
    }
}

/// The half that runs in the app: it signs the user in and leaves the session for the extension.
public struct AppHalf: Sendable {
    private let profile: Profile
    private let store: any SessionStore
    private let key: HandoverKey
    private let transport: any Transport
    private let settings: Settings

    public init(
        profile: Profile, store: any SessionStore, key: HandoverKey,
        transport: any Transport = URLSessionTransport(), settings: Settings = Settings()
    ) {
        self.profile = profile
        self.store = store
        self.key = key
        self.transport = transport
        self.settings = settings
    }

    /// Signs in, or enrols first what the profile asks for. Once it has returned, start the extension,
    /// or tell the one that runs, for ``ExtensionHalf/start()``. Where it throws, no session is left.
    @discardableResult
    public func signIn(_ authenticators: Authenticators) async throws -> Connected {
        let client = try Client(
            profile: profile, tunnel: TunnelElsewhere(), transport: transport, settings: settings)
        let connected = try await client.onboard(authenticators)
        let saved = try await client.saveSession(key: key)
        // Kept before it is let go of: a client that is not detached signs the user out.
        try await store.save(saved)
        try client.detach()
        return connected
    }
}

/// The app's half has no tunnel: the extension brings it up.
private struct TunnelElsewhere: Tunnel {
    func up(_ config: TunnelConfig) async throws {}
    func down() async throws {}
    func traffic() async throws -> Traffic? { Traffic() }
}

/// The half that runs in the packet-tunnel extension: it goes on with the session that the app's half
/// has left, keeps it up, and says when the user is needed.
public actor ExtensionHalf {
    /// What to tell the user, who does not see the extension: by a local notification that leads to
    /// the app, say. Each is given once.
    public enum Notice: Sendable, Hashable {
        /// The session ends soon, and only the user can give it more time.
        case mfaSoon(endsIn: Duration)
        /// There is no session: the user has to sign in. Nil where there was none to begin with.
        case mfaRequired(GateError?)
        /// What was told before is settled: withdraw it.
        case settled
    }

    private let profile: Profile
    private let store: any SessionStore
    private let key: HandoverKey
    private let tunnel: any Tunnel
    private let transport: any Transport
    private let settings: Settings
    private let notify: @Sendable (Notice) async -> Void

    /// The client that has the session; nil before ``start()`` and after ``stop()``.
    public private(set) var client: Client?
    private var reading: Task<Void, Never>?
    private var lastSaved: SavedSession?
    private var isNoticed = false

    public init(
        profile: Profile, store: any SessionStore, key: HandoverKey, tunnel: any Tunnel,
        transport: any Transport = URLSessionTransport(), settings: Settings = Settings(),
        notify: @escaping @Sendable (Notice) async -> Void
    ) {
        self.profile = profile
        self.store = store
        self.key = key
        self.tunnel = tunnel
        self.transport = transport
        self.settings = settings
        self.notify = notify
    }

    deinit {
        reading?.cancel()
        try? client?.detach()  // the session stays for the next process
    }

    /// Goes on with the session that is saved: at the extension's start, and again whenever the app's
    /// half has signed in. Nil says that the gate can't be reached now: the client keeps trying.
    ///
    /// Throws a ``GateError`` where there is no session to go on with; the code is `mfa-required`
    /// where none was saved.
    public func start() async throws -> Connected? {
        stop()
        guard let saved = try await store.load() else {
            await tell(.mfaRequired(nil))
            throw GateError(
                kind: .denied, code: "mfa-required", explanation: "sign in with the app first",
                isRetryable: false)
        }
        lastSaved = saved
        let resumed = try await Client.resume(
            saved, key: key, profile: profile, tunnel: tunnel, transport: transport,
            settings: settings)
        let isTrying = try resumed.client.status == .connecting
        if let failure = resumed.failure, !isTrying {
            try await forget()
            await tell(.mfaRequired(failure))
            throw failure
        }
        client = resumed.client
        let events = resumed.client.events
        reading = Task { [weak self] in
            for await event in events {
                await self?.take(event)
            }
        }
        return resumed.connected
    }

    /// Stops. The session stays live, for the next ``start()``; the tunnel goes with the extension.
    public func stop() {
        reading?.cancel()
        reading = nil
        try? client?.detach()  // a client that has stopped is as good as detached
        client = nil
    }

    /// Signs the user out, and forgets the session.
    public func signOut() async throws {
        reading?.cancel()
        reading = nil
        defer { client = nil }
        try await forget()
        try await client?.close()
    }

    private func take(_ event: Event) async {
        switch event {
        case .tunnelUp, .renewed:
            await save()
            if isNoticed {
                await tell(.settled)
            }
        case let .ending(endsIn, .factor):
            await tell(.mfaSoon(endsIn: endsIn))
        case let .ended(_, reason, error):
            // Without it the next start would ask the gate for nothing.
            try? await forget()
            if reason != .signedOut {
                await tell(.mfaRequired(error))
            }
        default:
            break
        }
    }

    /// A renewal has changed the tunnel's key.
    private func save() async {
        guard let saved = try? await client?.saveSession(key: key) else { return }
        if (try? await store.save(saved)) != nil {
            lastSaved = saved
        }
    }

    /// Only what this half knows: the app's half may have saved a newer session.
    private func forget() async throws {
        if try await store.load() == lastSaved {
            try await store.save(nil)
        }
    }

    private func tell(_ notice: Notice) async {
        isNoticed = notice != .settled
        await notify(notice)
    }
}
