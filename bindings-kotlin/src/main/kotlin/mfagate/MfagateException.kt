package mfagate

import java.time.Instant
import kotlinx.coroutines.CancellationException
import mfagate.internal.Failure as FfiFailure
import mfagate.internal.FailureKind
import mfagate.internal.MfagateException as FfiException

/**
 * Why a call failed. Each subclass says what an app is to do.
 *
 * @property code a stable code, in kebab-case, for logs and for texts of the app's own.
 * @property explanation what is wrong and what to do, for people.
 * @property isRetryable whether the same call may succeed later without anyone changing anything.
 */
public sealed class MfagateException(
    public val code: String,
    public val explanation: String,
    public val isRetryable: Boolean,
) : Exception(explanation) {
    /** The user wanted it so: say nothing. */
    public class UserCancelled internal constructor(code: String, explanation: String, isRetryable: Boolean) :
        MfagateException(code, explanation, isRetryable)

    /** It took too long: offer to try again. */
    public class TimedOut internal constructor(code: String, explanation: String, isRetryable: Boolean) :
        MfagateException(code, explanation, isRetryable)

    /** The gate, or the way to it, is not there now: try again later. */
    public class NotAvailable internal constructor(code: String, explanation: String, isRetryable: Boolean) :
        MfagateException(code, explanation, isRetryable)

    /**
     * There were too many wrong answers.
     *
     * @property until until when; `null` where an administrator has to reset the factor.
     */
    public class LockedOut internal constructor(
        code: String,
        explanation: String,
        isRetryable: Boolean,
        public val until: Instant?,
    ) : MfagateException(code, explanation, isRetryable)

    /** The gate says no to this user or device: show the explanation, which says who can help. */
    public class Denied internal constructor(code: String, explanation: String, isRetryable: Boolean) :
        MfagateException(code, explanation, isRetryable)

    /** Something is wrong with this device, the app or its profile: report the code. */
    public class Fault internal constructor(code: String, explanation: String, isRetryable: Boolean) :
        MfagateException(code, explanation, isRetryable)
}

internal fun FfiException.toPublic(): MfagateException = when (this) {
    is FfiException.UserCancelled -> MfagateException.UserCancelled(code, explanation, isRetryable)
    is FfiException.TimedOut -> MfagateException.TimedOut(code, explanation, isRetryable)
    is FfiException.NotAvailable -> MfagateException.NotAvailable(code, explanation, isRetryable)
    is FfiException.LockedOut -> MfagateException.LockedOut(code, explanation, isRetryable, untilMs?.toInstant())
    is FfiException.Denied -> MfagateException.Denied(code, explanation, isRetryable)
    is FfiException.Fault -> MfagateException.Fault(code, explanation, isRetryable)
}

internal fun FfiFailure.toPublic(): MfagateException = when (kind) {
    FailureKind.USER_CANCELLED -> MfagateException.UserCancelled(code, explanation, isRetryable)
    FailureKind.TIMED_OUT -> MfagateException.TimedOut(code, explanation, isRetryable)
    FailureKind.NOT_AVAILABLE -> MfagateException.NotAvailable(code, explanation, isRetryable)
    FailureKind.LOCKED_OUT -> MfagateException.LockedOut(code, explanation, isRetryable, untilMs?.toInstant())
    FailureKind.DENIED -> MfagateException.Denied(code, explanation, isRetryable)
    FailureKind.FAULT -> MfagateException.Fault(code, explanation, isRetryable)
}

/** A call of the library, with its errors as this package has them. */
internal inline fun <T> translated(call: () -> T): T = try {
    call()
} catch (error: FfiException) {
    throw error.toPublic()
} catch (cancelled: CancellationException) {
    throw cancelled // which is an IllegalStateException, too
} catch (_: IllegalStateException) {
    // So says what is generated of an object that was closed.
    throw MfagateException.Fault("client-stopped", "the client has stopped: make a new one", false)
}
