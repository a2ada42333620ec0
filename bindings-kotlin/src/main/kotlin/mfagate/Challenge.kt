package mfagate

import kotlin.time.Duration
import mfagate.internal.AuthChallenge as FfiAuthChallenge
import mfagate.internal.Challenge as FfiChallenge
import mfagate.internal.DeniedReason as FfiDeniedReason
import mfagate.internal.Offer as FfiOffer
import mfagate.internal.Protection as FfiProtection
import mfagate.internal.Response as FfiResponse
import mfagate.internal.Code as FfiCode

/**
 * A question to the user.
 *
 * @property factor the factor that is asked for; `null` while one is being enrolled.
 * @property challenge what to answer.
 * @property others the factors that would do in its place.
 * @property denied why the answer before was refused, and what is left.
 * @property expiresIn how long there is to answer.
 */
public class AuthChallenge internal constructor(
    public val factor: Offer?,
    public val challenge: Challenge,
    public val others: List<Offer>,
    public val denied: Denied?,
    public val expiresIn: Duration,
)

/**
 * A factor that may be used now.
 *
 * @property lockedFor for how long answers are refused; `null` where they are not.
 */
public data class Offer internal constructor(
    public val factor: String,
    public val kind: String,
    public val label: String,
    public val lockedFor: Duration?,
)

/** What to answer. */
public sealed interface Challenge {
    /** A code that the user's device shows. */
    public data class Code internal constructor(public val digits: Int) : Challenge

    /** A code that was sent out of band. */
    public data class SentCode internal constructor(
        public val digits: Int,
        public val sentTo: String,
        public val goodFor: Duration,
        public val resendIn: Duration,
    ) : Challenge

    /** One of the user's recovery codes. */
    public data class RecoveryCode internal constructor(public val left: Int) : Challenge

    /** A password or PIN. */
    public data object Password : Challenge

    /** A device key's signature, for which there is no signer. */
    public data class Signature internal constructor(public val keyId: String) : Challenge

    /** A passkey or a security key, for which there is no provider. */
    public data object WebAuthn : Challenge

    /** A login at an OpenID provider. */
    public data class OpenId internal constructor(
        public val issuer: String,
        public val isOnAnotherDevicePossible: Boolean,
        public val workloadAudience: String?,
        public val workloadNonce: String?,
    ) : Challenge

    /** A login on another device: show this, wait for [interval], and answer with [Answer.Poll]. */
    public data class DeviceGrant internal constructor(
        public val verificationUri: String,
        public val verificationUriComplete: String?,
        public val userCode: String,
        public val interval: Duration,
    ) : Challenge

    /** Enrolling: the `otpauth://` URI for the user's authenticator app, answered by a first right code. */
    public class RegisterTotp internal constructor(public val uri: Secret, public val digits: Int) : Challenge

    /** Enrolling: a device key, for which there is no signer. */
    public data class RegisterKey internal constructor(public val protection: Protection) : Challenge

    /** Enrolling: a passkey or a security key, for which there is no provider. */
    public data object RegisterWebAuthn : Challenge

    /** Enrolling: a new password or PIN. */
    public data class ChoosePassword internal constructor(public val shortest: Int) : Challenge

    /** Enrolling: recovery codes, shown this once; answered by one of them, which stays good. */
    public class KeepRecoveryCodes internal constructor(public val codes: List<Secret>) : Challenge

    /** Enrolling: an address for codes. */
    public data object Address : Challenge

    /** Something that this version does not know: choose another factor, or give up. */
    public data object Unknown : Challenge
}

/** How a device key is kept. */
public enum class Protection {
    /** In a file or in memory. */
    SOFTWARE,

    /** In hardware that does not give it away. */
    HARDWARE,

    /** In hardware that verifies its user, by a biometric or a PIN, before each use. */
    HARDWARE_USER_VERIFIED,
}

/**
 * Why an answer was refused, and what is left.
 *
 * @property triesLeft how many more failures cost no wait.
 */
public data class Denied internal constructor(
    public val reason: Reason,
    public val triesLeft: Int,
    public val lockedFor: Duration?,
) {
    /** Why an answer was refused. */
    public enum class Reason { WRONG, REPLAYED, LOCKED, DISABLED, UNFIT, EXPIRED, BUSY, OVERTAKEN, UNKNOWN }
}

/** What the user does about a question. None of it prints what the user typed. */
public sealed interface Answer {
    /**
     * A one-time code, as the user typed it.
     *
     * @throws MfagateException.Fault with the code `invalid-code` where it is none.
     */
    public class Code(text: String) : Answer {
        internal val inner: FfiCode = translated { FfiCode.parse(text) }
    }

    /** A recovery code. */
    public class RecoveryCode(internal val code: Secret) : Answer

    /** A password or PIN, also one to be. */
    public class Password(internal val password: Secret) : Answer

    /** An address for codes. */
    public class Address(internal val address: Secret) : Answer

    /** A workload's ID token. */
    public class IdToken(internal val token: Secret) : Answer

    /** The user wants to log in on another device. */
    public data object BeginDeviceGrant : Answer

    /** Ask whether that has been done. */
    public data object Poll : Answer

    /** Would rather be asked for this factor; or, with the current one, for a fresh challenge. */
    public data class Choose(public val factor: String) : Answer
}

internal fun FfiAuthChallenge.toPublic() = AuthChallenge(
    factor = factor?.toPublic(),
    challenge = challenge.toPublic(),
    others = others.map { it.toPublic() },
    denied = denied?.let {
        Denied(it.reason.toPublic(), it.triesLeft.toInt(), it.lockedForMs?.toDuration())
    },
    expiresIn = expiresInMs.toDuration(),
)

private fun FfiOffer.toPublic() = Offer(factor, kind, label, lockedForMs?.toDuration())

private fun FfiChallenge.toPublic(): Challenge = when (this) {
    is FfiChallenge.Code -> Challenge.Code(digits.toInt())
    is FfiChallenge.SentCode ->
        Challenge.SentCode(digits.toInt(), sentTo, goodForMs.toDuration(), resendInMs.toDuration())
    is FfiChallenge.RecoveryCode -> Challenge.RecoveryCode(left.toInt())
    is FfiChallenge.Password -> Challenge.Password
    is FfiChallenge.Signature -> Challenge.Signature(keyId)
    is FfiChallenge.WebAuthn -> Challenge.WebAuthn
    is FfiChallenge.OpenId -> Challenge.OpenId(issuer, device, workloadAudience, workloadNonce)
    is FfiChallenge.DeviceGrant ->
        Challenge.DeviceGrant(verificationUri, verificationUriComplete, userCode, intervalMs.toDuration())
    is FfiChallenge.RegisterTotp -> Challenge.RegisterTotp(Secret(uri), digits.toInt())
    is FfiChallenge.RegisterKey -> Challenge.RegisterKey(protection.toPublic())
    is FfiChallenge.RegisterWebAuthn -> Challenge.RegisterWebAuthn
    is FfiChallenge.ChoosePassword -> Challenge.ChoosePassword(shortest.toInt())
    is FfiChallenge.KeepRecoveryCodes -> Challenge.KeepRecoveryCodes(codes.map { Secret(it) })
    is FfiChallenge.Address -> Challenge.Address
    is FfiChallenge.Unknown -> Challenge.Unknown
}

private fun FfiProtection.toPublic() = when (this) {
    FfiProtection.SOFTWARE -> Protection.SOFTWARE
    FfiProtection.HARDWARE -> Protection.HARDWARE
    FfiProtection.HARDWARE_USER_VERIFIED -> Protection.HARDWARE_USER_VERIFIED
}

internal fun Protection.toFfi() = when (this) {
    Protection.SOFTWARE -> FfiProtection.SOFTWARE
    Protection.HARDWARE -> FfiProtection.HARDWARE
    Protection.HARDWARE_USER_VERIFIED -> FfiProtection.HARDWARE_USER_VERIFIED
}

private fun FfiDeniedReason.toPublic() = when (this) {
    FfiDeniedReason.WRONG -> Denied.Reason.WRONG
    FfiDeniedReason.REPLAYED -> Denied.Reason.REPLAYED
    FfiDeniedReason.LOCKED -> Denied.Reason.LOCKED
    FfiDeniedReason.DISABLED -> Denied.Reason.DISABLED
    FfiDeniedReason.UNFIT -> Denied.Reason.UNFIT
    FfiDeniedReason.EXPIRED -> Denied.Reason.EXPIRED
    FfiDeniedReason.BUSY -> Denied.Reason.BUSY
    FfiDeniedReason.OVERTAKEN -> Denied.Reason.OVERTAKEN
    FfiDeniedReason.UNKNOWN -> Denied.Reason.UNKNOWN
}

internal fun Answer.toFfi(): FfiResponse = when (this) {
    is Answer.Code -> FfiResponse.Code(inner)
    is Answer.RecoveryCode -> FfiResponse.RecoveryCode(code.inner)
    is Answer.Password -> FfiResponse.Password(password.inner)
    is Answer.Address -> FfiResponse.Address(address.inner)
    is Answer.IdToken -> FfiResponse.IdToken(token.inner)
    is Answer.BeginDeviceGrant -> FfiResponse.BeginDeviceGrant
    is Answer.Poll -> FfiResponse.Poll
    is Answer.Choose -> FfiResponse.Choose(factor)
}
