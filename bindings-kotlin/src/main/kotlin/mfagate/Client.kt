package mfagate

import kotlin.time.Duration
import kotlin.time.Duration.Companion.seconds
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.Job
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.cancel
import kotlinx.coroutines.channels.BufferOverflow
import kotlinx.coroutines.flow.MutableSharedFlow
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.SharedFlow
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.asSharedFlow
import kotlinx.coroutines.flow.asStateFlow
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeoutOrNull
import mfagate.internal.Client as FfiClient
import mfagate.internal.ClientSettings as FfiClientSettings
import mfagate.internal.Connected as FfiConnected
import mfagate.internal.EnrolRequest as FfiEnrolRequest
import mfagate.internal.resume as ffiResume

/**
 * A client of one location. Close it to sign out: a client that is only let go of signs out when the
 * garbage collector finds it.
 *
 * Every suspending call may be cancelled, and ends at once; any thread may call any of them.
 */
public class Client private constructor(private val inner: FfiClient) : AutoCloseable {
    private val scope = CoroutineScope(SupervisorJob() + Dispatchers.Default)
    private val told = MutableSharedFlow<Event>(extraBufferCapacity = KEPT, onBufferOverflow = BufferOverflow.DROP_OLDEST)
    private val stands = MutableStateFlow(translated { inner.status().toPublic() })

    /** What happens from now on. A subscriber that lags by more than 256 events misses the oldest. */
    public val events: SharedFlow<Event> = told.asSharedFlow()

    /** Where the client stands, as of the last event. */
    public val status: StateFlow<Status> = stands.asStateFlow()

    /** A client of this profile. What an earlier run left of the tunnel is taken down. */
    public constructor(
        profile: Profile,
        tunnel: Tunnel,
        transport: Transport = JavaTransport(),
        settings: ClientSettings = ClientSettings(),
    ) : this(
        translated {
            FfiClient(profile.inner, TransportAdaptor(transport), TunnelAdaptor(tunnel), settings.toFfi())
        },
    )

    private val reader: Job = scope.launch { pump() }

    private suspend fun pump() {
        while (true) {
            val event = translated { inner.nextEvent(null) } ?: break
            look()
            told.emit(event.toPublic())
        }
        look()
        told.emit(Event.Closed)
    }

    private fun look() {
        stands.value = translated { inner.status().toPublic() }
    }

    /** Signs in and brings the tunnel up. */
    public suspend fun connect(authenticators: Authenticators): Connected =
        attempt { inner.connect(authenticators.toFfi(), null).toPublic() }

    /** Signs in with codes that [prompt] asks for, and brings the tunnel up. */
    public suspend fun connect(prompt: CodePrompt): Connected = connect(Authenticators(code = prompt))

    /** Enrols what the profile asks for first, then connects. Keep the profile without that then. */
    public suspend fun onboard(authenticators: Authenticators): Connected =
        attempt { inner.onboard(authenticators.toFfi(), null).toPublic() }

    /** Gives the live session more time. Asks the user only where the gate asks for a factor. */
    public suspend fun renew(authenticators: Authenticators = Authenticators()): Connected =
        attempt { inner.renew(authenticators.toFfi(), null).toPublic() }

    /** Signs in again while the tunnel stays up. */
    public suspend fun reauthenticate(authenticators: Authenticators): Connected =
        attempt { inner.reauthenticate(authenticators.toFfi(), null).toPublic() }

    /** Enrols a factor of this [kind], and gives its name. A live session goes on. */
    public suspend fun enrol(
        kind: String,
        label: String,
        authenticators: Authenticators,
        token: Secret? = null,
    ): String = attempt {
        inner.enrol(FfiEnrolRequest(kind, label, token?.inner), authenticators.toFfi(), null)
    }

    /** Says that the device's network changed. */
    public fun networkChanged(): Unit = translated { inner.networkChanged() }

    /** Says that the device woke up or was unlocked. */
    public fun woke(): Unit = translated { inner.woke() }

    /** Whether the app reports wake-ups, changes of the network and traffic from now on. */
    public fun setQuiet(isQuiet: Boolean): Unit = translated { inner.setQuiet(isQuiet) }

    /** Reports the tunnel's traffic. */
    public fun traffic(traffic: Traffic): Unit = translated { inner.traffic(traffic.toFfi()) }

    /** Signs the user out. Returns when the tunnel is down and the gate has been told. */
    public suspend fun signOut(): Unit = attempt { inner.signOut() }

    /**
     * The live session, sealed under [key]: another client of this device can go on with it. Save again at
     * each [Event.TunnelUp] and [Event.Renewed].
     */
    public suspend fun saveSession(key: Secret): ByteArray = translated { inner.saveSession(key.inner) }

    /** Ends the attempt that is under way: its caller gets [MfagateException.UserCancelled]. */
    public fun cancel(): Unit = translated { inner.cancel() }

    /** Stops without signing out: session and tunnel stay, for a client that goes on with them. */
    public fun detach(): Unit = translated { inner.detach() }

    /** Signs out and stops the client for good. Calls under way end at once. */
    public suspend fun shutDown(): Unit = translated { inner.shutDown() }

    /**
     * As [shutDown], and waits for it. What the gate could not be told is no error here: the session ends
     * there by itself.
     */
    override fun close() {
        runBlocking {
            try {
                inner.shutDown()
            } catch (_: mfagate.internal.MfagateException) {
                // The tunnel is being taken down; there is no more to be done from here.
            } catch (_: IllegalStateException) {
                return@runBlocking // It was closed before.
            }
            // Now that no more events come, the reader ends; what is stuck would hold the app up.
            withTimeoutOrNull(LAST_EVENTS) { reader.join() }
        }
        scope.cancel()
        inner.destroy()
    }

    private suspend fun <T> attempt(call: suspend () -> T): T = try {
        translated { call() }
    } finally {
        runCatching { look() }
    }

    /** How a client behaves, and how clients begin. */
    public companion object {
        private const val KEPT = 256
        private val LAST_EVENTS = 5.seconds

        /**
         * Makes a client that goes on with a session that another client of this device has saved,
         * without a sign-in.
         *
         * @throws MfagateException.Fault where no client can be made; what became of the session is in
         * the result.
         */
        public suspend fun resume(
            profile: Profile,
            tunnel: Tunnel,
            saved: ByteArray,
            key: Secret,
            transport: Transport = JavaTransport(),
            settings: ClientSettings = ClientSettings(),
        ): Resumed = translated {
            val resumed = ffiResume(
                profile.inner,
                TransportAdaptor(transport),
                TunnelAdaptor(tunnel),
                settings.toFfi(),
                saved,
                key.inner,
                null,
            )
            Resumed(Client(resumed.client), resumed.connected?.toPublic(), resumed.failure?.toPublic())
        }
    }
}

/** A tunnel that is up. */
public data class Connected internal constructor(
    public val session: String,
    public val addresses: List<String>,
    public val endsIn: Duration,
)

/**
 * A client, and what became of the session that it was to go on with.
 *
 * @property connected the tunnel that is up, if one is.
 * @property failure why there is none, or not yet.
 */
public class Resumed internal constructor(
    public val client: Client,
    public val connected: Connected?,
    public val failure: MfagateException?,
)

/**
 * How a client behaves. What is `null` is as the library has it.
 *
 * @property warnBefore how long before a lease's end the client warns.
 * @property renewsAutomatically whether leases are renewed without being asked, as far as no factor is needed.
 * @property isQuiet whether the app reports wake-ups, changes of the network and traffic.
 * @property callbackTimeout how long one call of the app's transport or tunnel may take.
 * @property signOutTimeout how long a signing out is waited for.
 * @property posture what to tell the gate's authoriser of this device.
 */
public data class ClientSettings(
    public val warnBefore: Duration? = null,
    public val renewsAutomatically: Boolean = true,
    public val isQuiet: Boolean = false,
    public val callbackTimeout: Duration? = null,
    public val signOutTimeout: Duration? = null,
    public val posture: Map<String, String> = emptyMap(),
)

internal fun ClientSettings.toFfi() = FfiClientSettings(
    warnBefore?.toMillis(),
    renewsAutomatically,
    isQuiet,
    callbackTimeout?.toMillis(),
    signOutTimeout?.toMillis(),
    posture,
)

private fun FfiConnected.toPublic() = Connected(session, addresses, endsInMs.toDuration())
