package mfagate

import kotlin.time.Duration
import mfagate.internal.Event as FfiEvent
import mfagate.internal.Health as FfiHealth
import mfagate.internal.Needs as FfiNeeds
import mfagate.internal.Phase as FfiPhase
import mfagate.internal.SessionEnd as FfiSessionEnd

/** Something to know, and sometimes to do. No secret is in any of it. */
public sealed interface Event {
    /** The factor is enrolled. */
    public data class Enrolled internal constructor(public val factor: String) : Event

    /** The attempt is over without a new lease. A live session goes on. */
    public data class Failed internal constructor(public val failure: MfagateException) : Event

    /** The gate granted a session, or more time for one. The tunnel follows. */
    public data class Granted internal constructor(public val session: String) : Event

    /** The tunnel is up. */
    public data class TunnelUp internal constructor(
        public val session: String,
        public val addresses: List<String>,
        public val endsIn: Duration,
    ) : Event

    /** The lease lasts longer now. The tunnel stayed up. */
    public data class Renewed internal constructor(
        public val session: String,
        public val addresses: List<String>,
        public val endsIn: Duration,
    ) : Event

    /** Packets come through the tunnel: for the first time, or again after trouble. */
    public data object Live : Event

    /** The lease ends soon. */
    public data class Ending internal constructor(public val endsIn: Duration, public val needs: Needs) : Event

    /** The gate will not renew the lease without the user. */
    public data class MfaRequired internal constructor(public val endsIn: Duration) : Event

    /** The gate can't be reached. The tunnel stays until the lease ends; the client keeps trying. */
    public data class Unreachable internal constructor(
        public val failure: MfagateException,
        public val endsIn: Duration,
    ) : Event

    /** The gate is reached again and says that the session is live. */
    public data object Reachable : Event

    /** The session is live at the gate, but no packets come through the tunnel. */
    public data object TunnelSilent : Event

    /** The tunnel's packets go to another address from now on. */
    public data class EndpointMoved internal constructor(public val endpoint: String) : Event

    /** The tunnel is down and the session over. */
    public data class Ended internal constructor(
        public val session: String,
        public val reason: SessionEnd,
        public val failure: MfagateException,
    ) : Event

    /** The user signed out and the tunnel is down, but the gate could not be told. */
    public data object SignOutUnconfirmed : Event

    /** An attempt was given up, but the gate could not be told. */
    public data object CancelUnconfirmed : Event

    /** The tunnel could not be taken down. The client keeps trying. */
    public data object RemovalFailed : Event

    /** Events were missed: look at [Client.status]. */
    public data class Lagged internal constructor(public val missed: Long) : Event

    /** The client was closed: no more events come. */
    public data object Closed : Event

    /** Something that this version does not know: look at [Client.status]. */
    public data object Other : Event
}

/** What it takes for a session to go on after the end of its lease. */
public enum class Needs {
    /** Nothing: the client renews the lease by itself. */
    NOTHING,

    /** The app's word, by [Client.renew]. */
    REQUEST,

    /** A factor of the user's, by [Client.reauthenticate]. */
    FACTOR,
}

/** Why a session is over. */
public enum class SessionEnd {
    EXPIRED, INACTIVE, ENDPOINT_CHANGED, REVOKED, SIGNED_OUT, WOKE, SUPERSEDED, GATE_INTERFACE, INTERFACE, UNKNOWN,
}

/** Where a client stands. */
public sealed interface Status {
    /** No tunnel, nothing under way. */
    public data object Idle : Status

    /** An attempt at a session is under way. */
    public data class SigningIn internal constructor(public val waitsForUser: Boolean) : Status

    /** The session is granted and the tunnel is being brought up, or a saved session is asked about. */
    public data object Connecting : Status

    /** The tunnel is up. [endsIn] counts from when this was told. */
    public data class Connected internal constructor(
        public val session: String,
        public val endsIn: Duration,
        public val health: Health,
        public val isRenewing: Boolean,
    ) : Status

    /** The session is over; the tunnel is being taken down. */
    public data object Closing : Status

    /** The client was closed. */
    public data object Closed : Status
}

/** What is known of a tunnel that is up. */
public enum class Health { UNTRIED, LIVE, SILENT, UNREACHABLE }

internal fun FfiEvent.toPublic(): Event = when (this) {
    is FfiEvent.Enrolled -> Event.Enrolled(factor)
    is FfiEvent.Failed -> Event.Failed(failure.toPublic())
    is FfiEvent.Granted -> Event.Granted(session)
    is FfiEvent.TunnelUp -> Event.TunnelUp(session, addresses, endsInMs.toDuration())
    is FfiEvent.Renewed -> Event.Renewed(session, addresses, endsInMs.toDuration())
    is FfiEvent.Live -> Event.Live
    is FfiEvent.Ending -> Event.Ending(endsInMs.toDuration(), needs.toPublic())
    is FfiEvent.MfaRequired -> Event.MfaRequired(endsInMs.toDuration())
    is FfiEvent.Unreachable -> Event.Unreachable(failure.toPublic(), endsInMs.toDuration())
    is FfiEvent.Reachable -> Event.Reachable
    is FfiEvent.TunnelSilent -> Event.TunnelSilent
    is FfiEvent.EndpointMoved -> Event.EndpointMoved(endpoint)
    is FfiEvent.Ended -> Event.Ended(session, reason.toPublic(), failure.toPublic())
    is FfiEvent.SignOutUnconfirmed -> Event.SignOutUnconfirmed
    is FfiEvent.CancelUnconfirmed -> Event.CancelUnconfirmed
    is FfiEvent.RemovalFailed -> Event.RemovalFailed
    is FfiEvent.Lagged -> Event.Lagged(missed.toLong())
    is FfiEvent.Other -> Event.Other
}

private fun FfiNeeds.toPublic() = when (this) {
    FfiNeeds.NOTHING -> Needs.NOTHING
    FfiNeeds.REQUEST -> Needs.REQUEST
    FfiNeeds.FACTOR -> Needs.FACTOR
}

private fun FfiSessionEnd.toPublic() = when (this) {
    FfiSessionEnd.EXPIRED -> SessionEnd.EXPIRED
    FfiSessionEnd.INACTIVE -> SessionEnd.INACTIVE
    FfiSessionEnd.ENDPOINT_CHANGED -> SessionEnd.ENDPOINT_CHANGED
    FfiSessionEnd.REVOKED -> SessionEnd.REVOKED
    FfiSessionEnd.SIGNED_OUT -> SessionEnd.SIGNED_OUT
    FfiSessionEnd.WOKE -> SessionEnd.WOKE
    FfiSessionEnd.SUPERSEDED -> SessionEnd.SUPERSEDED
    FfiSessionEnd.GATE_INTERFACE -> SessionEnd.GATE_INTERFACE
    FfiSessionEnd.INTERFACE -> SessionEnd.INTERFACE
    FfiSessionEnd.UNKNOWN -> SessionEnd.UNKNOWN
}

internal fun FfiPhase.toPublic(): Status = when (this) {
    is FfiPhase.Idle -> Status.Idle
    is FfiPhase.SigningIn -> Status.SigningIn(waitsForUser)
    is FfiPhase.Connecting -> Status.Connecting
    is FfiPhase.Connected -> Status.Connected(session, endsInMs.toDuration(), health.toPublic(), renewing)
    is FfiPhase.Closing -> Status.Closing
    is FfiPhase.Closed -> Status.Closed
}

private fun FfiHealth.toPublic() = when (this) {
    FfiHealth.UNTRIED -> Health.UNTRIED
    FfiHealth.LIVE -> Health.LIVE
    FfiHealth.SILENT -> Health.SILENT
    FfiHealth.UNREACHABLE -> Health.UNREACHABLE
}
