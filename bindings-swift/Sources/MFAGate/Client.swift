import Foundation
internal import MFAGateFFI

/// A client of one location: it proves its user's factors to the gate, brings the app's tunnel up,
/// keeps it up and takes it down.
///
/// When it is let go of, the user is signed out and the tunnel comes down, in the background;
/// ``close()`` waits for that. A call whose task is cancelled ends at once, in the library and at the
/// gate, and throws `CancellationError`. Everything else that a call throws is a ``GateError``.
public actor Client {
    nonisolated let inner: MFAGateFFI.Client
    private nonisolated let readers: EventReaders

    /// Makes a client. What an earlier run left of the tunnel is taken down.
    public init(
        profile: Profile, tunnel: any Tunnel, transport: any Transport = URLSessionTransport(),
        settings: Settings = Settings()
    ) throws {
        let inner = try translating {
            try MFAGateFFI.Client(
                profile: profile.inner, transport: TransportAdaptor(transport),
                tunnel: TunnelAdaptor(tunnel), settings: settings.inner)
        }
        self.init(inner)
    }

    private init(_ inner: MFAGateFFI.Client) {
        self.inner = inner
        readers = EventReaders(of: inner)
    }

    deinit {
        readers.stop()
    }

    /// Makes a client that goes on with a session that another client of this device has saved,
    /// without a sign-in. The gate is asked first. It throws only where no client can be made: what
    /// became of the session is in the result.
    public static func resume(
        _ saved: SavedSession, key: HandoverKey, profile: Profile, tunnel: any Tunnel,
        transport: any Transport = URLSessionTransport(), settings: Settings = Settings()
    ) async throws -> Resumed {
        let resumed = try await cancellable { cancellation in
            try await MFAGateFFI.resume(
                profile: profile.inner, transport: TransportAdaptor(transport),
                tunnel: TunnelAdaptor(tunnel), settings: settings.inner, saved: saved.data,
                key: key.secret.inner, cancellation: cancellation)
        }
        let client = Client(resumed.client)
        let connected = resumed.connected.map(Connected.init)
        return Resumed(client: client, connected: connected, failure: resumed.failure.map(GateError.init))
    }

    /// Signs in and brings the tunnel up. With a live session, signs in again and gives that session
    /// more time, while the tunnel stays up.
    @discardableResult
    public func connect(_ authenticators: Authenticators) async throws -> Connected {
        let inner = inner
        return try await attempt { cancellation in
            try await inner.connect(authenticators: authenticators.inner, cancellation: cancellation)
        }
    }

    /// The same, for an app that asks its user by a function: nil means that the user gave up.
    @discardableResult
    public func connect(
        asking answer: @escaping @Sendable (AuthChallenge) async throws -> Response?
    ) async throws -> Connected {
        try await connect(Authenticators(asking: answer))
    }

    /// Enrols what the profile asks for first, then connects. Once it has returned, keep
    /// ``Profile/exposeTOML()`` in place of the profile.
    @discardableResult
    public func onboard(_ authenticators: Authenticators) async throws -> Connected {
        let inner = inner
        return try await attempt { cancellation in
            try await inner.onboard(authenticators: authenticators.inner, cancellation: cancellation)
        }
    }

    /// Gives the live session more time. Asks the user only where the gate asks for a factor.
    @discardableResult
    public func renew(_ authenticators: Authenticators) async throws -> Connected {
        let inner = inner
        return try await attempt { cancellation in
            try await inner.renew(authenticators: authenticators.inner, cancellation: cancellation)
        }
    }

    /// Signs in again while the tunnel stays up. Fails where no tunnel is up: connect then.
    @discardableResult
    public func reauthenticate(_ authenticators: Authenticators) async throws -> Connected {
        let inner = inner
        return try await attempt { cancellation in
            try await inner.reauthenticate(
                authenticators: authenticators.inner, cancellation: cancellation)
        }
    }

    /// Enrols a factor, and gives its name. A live session goes on.
    @discardableResult
    public func enrol(
        _ request: EnrolRequest, _ authenticators: Authenticators
    ) async throws -> String {
        let inner = inner
        return try await cancellable { cancellation in
            try await inner.enrol(
                request: request.inner, authenticators: authenticators.inner,
                cancellation: cancellation)
        }
    }

    /// A reader of the events from now on, independent of all others; the first one gets what happened
    /// before it as well. It ends when the client is closed, detached or let go of. It keeps the 256
    /// newest events for a reader that is slow.
    public nonisolated var events: AsyncStream<Event> {
        readers.add()
    }

    /// The client's state now.
    public nonisolated var status: Phase {
        get throws { Phase(try translating { try inner.status() }) }
    }

    /// Says that the device's network changed, so that the client looks again at once.
    public nonisolated func networkChanged() throws {
        try translating { try inner.networkChanged() }
    }

    /// Says that the device woke up or was unlocked: where the policy says so, the session ends.
    public nonisolated func woke() throws {
        try translating { try inner.woke() }
    }

    /// Says that the app reports wake-ups, changes of the network and traffic from now on, or does so
    /// no more. While it does, the client wakes the device for its deadlines only.
    public nonisolated func setQuiet(_ isQuiet: Bool) throws {
        try translating { try inner.setQuiet(isQuiet: isQuiet) }
    }

    /// Reports the tunnel's traffic since it was brought up.
    public nonisolated func report(_ traffic: Traffic) throws {
        try translating { try inner.traffic(traffic: traffic.inner) }
    }

    /// Ends the attempt that is under way: its caller gets ``GateError/Kind/userCancelled``. A live
    /// session goes on.
    public nonisolated func cancel() throws {
        try translating { try inner.cancel() }
    }

    /// Signs the user out. Returns when the tunnel is down and the gate has been told.
    public func signOut() async throws {
        let inner = inner
        try await translatingAsync { try await inner.signOut() }
    }

    /// The live session as a sealed value that another client of this device can go on with. Save
    /// again at each ``Event/tunnelUp(_:)`` and ``Event/renewed(_:)``, as the tunnel's key changes.
    public func saveSession(key: HandoverKey) async throws -> SavedSession {
        let inner = inner
        let data = try await translatingAsync { try await inner.saveSession(key: key.secret.inner) }
        return SavedSession(data: data)
    }

    /// Stops without signing out: session and tunnel stay as they are, for another client that goes on
    /// with the saved session.
    public nonisolated func detach() throws {
        try translating { try inner.detach() }
    }

    /// Signs out and stops the client for good. Calls under way end at once. Later calls fail with the
    /// code `client-stopped`.
    public func close() async throws {
        let inner = inner
        try await translatingAsync { try await inner.shutDown() }
    }

    private nonisolated func attempt(
        _ call: @Sendable (MFAGateFFI.Cancellation) async throws -> MFAGateFFI.Connected
    ) async throws -> Connected {
        Connected(try await cancellable(call))
    }
}

/// A client, and what became of the session that it was to go on with.
public struct Resumed: Sendable {
    /// The client; it may connect where there is no tunnel.
    public let client: Client
    /// The tunnel that is up, if one is.
    public let connected: Connected?
    /// Why there is none, or not yet.
    public let failure: GateError?
}

/// The library's version.
public func version() throws -> String {
    try translating { try MFAGateFFI.version() }
}

private func translatingAsync<T: Sendable>(_ call: () async throws -> T) async throws -> T {
    do {
        return try await call()
    } catch {
        throw GateError(calling: error)
    }
}
