import Foundation
internal import MFAGateFFI

/// Something to know, and sometimes to do. No secret is in any of it.
public enum Event: Sendable, Codable, Hashable {
    /// The factor is enrolled.
    case enrolled(factor: String)
    /// The attempt is over without a new lease. A live session, where there is one, goes on.
    case failed(GateError)
    /// The gate granted a session, or more time for one. The tunnel follows.
    case granted(session: String)
    /// The tunnel is up.
    case tunnelUp(Connected)
    /// The lease lasts longer now. The tunnel stayed up.
    case renewed(Connected)
    /// Packets come through the tunnel: for the first time, or again after trouble.
    case live
    /// The lease ends soon.
    case ending(in: Duration, needs: Needs)
    /// The gate will not renew the lease without the user. It need not be soon: ``ending(in:needs:)``
    /// is the moment to ask.
    case mfaRequired(endsIn: Duration)
    /// The gate can't be reached. The tunnel stays until the lease ends; the client keeps trying.
    case unreachable(GateError, endsIn: Duration)
    /// The gate is reached again and says that the session is live.
    case reachable
    /// The session is live at the gate, but no packets come through the tunnel.
    case tunnelSilent
    /// The tunnel's packets go to another address from now on.
    case endpointMoved(to: String)
    /// The tunnel is down and the session over. The error says it in words for people.
    case ended(session: String, reason: SessionEnd, GateError)
    /// The user signed out and the tunnel is down, but the gate could not be told.
    case signOutUnconfirmed
    /// An attempt was given up, but the gate could not be told.
    case cancelUnconfirmed
    /// The tunnel could not be taken down. The client keeps trying.
    case removalFailed
    /// The reader was too slow and has missed events: ask for the status.
    case lagged(missed: UInt64)
    /// Something that this version does not know: ask for the status.
    case other
}

/// A tunnel that is up.
public struct Connected: Sendable, Codable, Hashable {
    /// The session.
    public let session: String
    /// This device's own addresses inside the tunnel, as networks.
    public let addresses: [String]
    /// How long the lease lasts.
    public let endsIn: Duration
}

/// What it takes for a session to go on after the end of its lease.
public enum Needs: String, Sendable, Codable {
    /// Nothing: the client renews the lease by itself.
    case nothing
    /// The app's word, by ``Client/renew(_:)``: no factor.
    case request
    /// A factor of the user's, by ``Client/renew(_:)`` or ``Client/reauthenticate(_:)``.
    case factor
}

/// Why a session is over.
public enum SessionEnd: String, Sendable, Codable {
    /// Its time was over.
    case expired
    /// It carried no payload for as long as the policy allows.
    case inactive
    /// The device went on from another network address.
    case endpointChanged
    /// It was revoked.
    case revoked
    /// The user signed out.
    case signedOut
    /// The device slept or was locked, and the policy lets no session outlive that.
    case woke
    /// A newer session of this same peer took its place.
    case superseded
    /// The gate's interface could not take the peer, or lost it.
    case gateInterface
    /// This device's interface could not take the gate's peer, or lost it.
    case interface
    /// The gate does not know why.
    case unknown
}

/// Where a client stands.
public enum Phase: Sendable, Codable, Hashable {
    /// No tunnel, nothing under way.
    case idle
    /// An attempt at a session is under way.
    case signingIn(waitsForUser: Bool)
    /// The session is granted and the tunnel is being brought up, or the gate is being asked about a
    /// session that was saved.
    case connecting
    /// The tunnel is up.
    case connected(session: String, endsIn: Duration, health: Health, isRenewing: Bool)
    /// The session is over; the tunnel is being taken down.
    case closing
    /// The client was closed or detached.
    case closed
}

/// What is known of a tunnel that is up.
public enum Health: String, Sendable, Codable {
    /// Nothing has come through it yet.
    case untried
    /// Packets come through it.
    case live
    /// The session is live at the gate, but nothing comes through.
    case silent
    /// Nothing comes through, or a moment to look again came, and the gate can't be asked.
    case unreachable
}

extension Event {
    init(_ event: MFAGateFFI.Event) {
        switch event {
        case let .enrolled(factor): self = .enrolled(factor: factor)
        case let .failed(failure): self = .failed(GateError(failure))
        case let .granted(session): self = .granted(session: session)
        case let .tunnelUp(session, addresses, endsInMs):
            let endsIn = Duration(milliseconds: endsInMs)
            self = .tunnelUp(Connected(session: session, addresses: addresses, endsIn: endsIn))
        case let .renewed(session, addresses, endsInMs):
            let endsIn = Duration(milliseconds: endsInMs)
            self = .renewed(Connected(session: session, addresses: addresses, endsIn: endsIn))
        case .live: self = .live
        case let .ending(endsInMs, needs):
            self = .ending(in: Duration(milliseconds: endsInMs), needs: Needs(needs))
        case let .mfaRequired(endsInMs): self = .mfaRequired(endsIn: Duration(milliseconds: endsInMs))
        case let .unreachable(failure, endsInMs):
            self = .unreachable(GateError(failure), endsIn: Duration(milliseconds: endsInMs))
        case .reachable: self = .reachable
        case .tunnelSilent: self = .tunnelSilent
        case let .endpointMoved(endpoint): self = .endpointMoved(to: endpoint)
        case let .ended(session, reason, failure):
            self = .ended(session: session, reason: SessionEnd(reason), GateError(failure))
        case .signOutUnconfirmed: self = .signOutUnconfirmed
        case .cancelUnconfirmed: self = .cancelUnconfirmed
        case .removalFailed: self = .removalFailed
        case let .lagged(missed): self = .lagged(missed: missed)
        case .other: self = .other
        }
    }
}

extension Connected {
    init(_ connected: MFAGateFFI.Connected) {
        self.init(
            session: connected.session, addresses: connected.addresses,
            endsIn: Duration(milliseconds: connected.endsInMs))
    }
}

extension Needs {
    init(_ needs: MFAGateFFI.Needs) {
        switch needs {
        case .nothing: self = .nothing
        case .request: self = .request
        case .factor: self = .factor
        }
    }
}

extension SessionEnd {
    init(_ reason: MFAGateFFI.SessionEnd) {
        switch reason {
        case .expired: self = .expired
        case .inactive: self = .inactive
        case .endpointChanged: self = .endpointChanged
        case .revoked: self = .revoked
        case .signedOut: self = .signedOut
        case .woke: self = .woke
        case .superseded: self = .superseded
        case .gateInterface: self = .gateInterface
        case .interface: self = .interface
        case .unknown: self = .unknown
        }
    }
}

extension Phase {
    init(_ phase: MFAGateFFI.Phase) {
        switch phase {
        case .idle: self = .idle
        case let .signingIn(waitsForUser): self = .signingIn(waitsForUser: waitsForUser)
        case .connecting: self = .connecting
        case let .connected(session, endsInMs, health, renewing):
            self = .connected(
                session: session, endsIn: Duration(milliseconds: endsInMs), health: Health(health),
                isRenewing: renewing)
        case .closing: self = .closing
        case .closed: self = .closed
        }
    }
}

extension Health {
    init(_ health: MFAGateFFI.Health) {
        switch health {
        case .untried: self = .untried
        case .live: self = .live
        case .silent: self = .silent
        case .unreachable: self = .unreachable
        }
    }
}
