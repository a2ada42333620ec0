package mfagate

import kotlinx.coroutines.CancellationException
import mfagate.internal.CallbackException

/**
 * What an app's own code may throw to say why it does not do as it was asked. Whatever it throws, the
 * answer is *no*: this only makes for a better text.
 */
public sealed class CallbackFailure(what: String) : Exception(what) {
    /** The user did not want to. */
    public class Cancelled : CallbackFailure("the user cancelled")

    /** It took too long. */
    public class TimedOut : CallbackFailure("it took too long")

    /** What is needed is not there now: a server, a key, the tunnel. */
    public class NotAvailable : CallbackFailure("it is not available")

    /** The system refused the user for having failed too often. */
    public class LockedOut : CallbackFailure("the user is locked out")

    /** It was refused: a server's certificate was not accepted, the user was not recognised. */
    public class Refused : CallbackFailure("it was refused")

    /** The key was given up by the system: enrol another. */
    public class Invalidated : CallbackFailure("the key is no longer good")

    /** Something else failed. The words appear in errors and logs: no secret may be in them. */
    public class Failed(internal val what: String) : CallbackFailure(what)
}

/**
 * Runs an app's code, and has whatever it throws arrive as a failure: an `Error` that is none of
 * [Exception] would otherwise never arrive. Of an exception that this package does not know only the
 * class is passed on: its text may hold a secret.
 */
internal suspend fun <T> guarded(call: suspend () -> T): T = try {
    call()
} catch (failure: CallbackFailure) {
    throw failure.toFfi()
} catch (_: CancellationException) {
    // Where Rust has given the call up, no one waits for this.
    throw CallbackException.Cancelled()
} catch (thrown: Throwable) {
    throw CallbackException.Failed("the app's code threw ${thrown.javaClass.name}")
}

private fun CallbackFailure.toFfi(): CallbackException = when (this) {
    is CallbackFailure.Cancelled -> CallbackException.Cancelled()
    is CallbackFailure.TimedOut -> CallbackException.TimedOut()
    is CallbackFailure.NotAvailable -> CallbackException.NotAvailable()
    is CallbackFailure.LockedOut -> CallbackException.LockedOut()
    is CallbackFailure.Refused -> CallbackException.Refused()
    is CallbackFailure.Invalidated -> CallbackException.Invalidated()
    is CallbackFailure.Failed -> CallbackException.Failed(what)
}
