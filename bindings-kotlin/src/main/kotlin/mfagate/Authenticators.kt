package mfagate

import mfagate.internal.Authenticators as FfiAuthenticators

/**
 * What an app can prove its user's factors with. What is not there is asked by [code], which may choose
 * another factor.
 *
 * @property code asks the user for codes and passwords.
 * @property deviceKey signs with a key of the device's.
 * @property passkey asks for a passkey or a security key.
 * @property browser logs in at an OpenID provider in the system's browser.
 */
public class Authenticators(
    public val code: CodePrompt? = null,
    public val deviceKey: DeviceKeySigner? = null,
    public val passkey: PasskeyProvider? = null,
    public val browser: BrowserLogin? = null,
)

/**
 * Asks the user. Whatever it throws, the attempt is given up.
 */
public fun interface CodePrompt {
    /**
     * Asks for an answer; `null` means that the user gave up. Cancelled when the attempt ends without
     * the user: close the window then.
     */
    public suspend fun answer(challenge: AuthChallenge): Answer?
}

/** A key that never leaves the device: in StrongBox or the Android key store, in a token. */
public interface DeviceKeySigner {
    /** The key's public half, and how the key is kept. */
    public suspend fun publicKey(): DeviceKey

    /**
     * Signs these bytes: as `SHA256withECDSA` of Java gives it, or for Ed25519 the 64 bytes. May ask the
     * user for a finger, a face or a PIN.
     */
    public suspend fun sign(data: ByteArray): ByteArray
}

/**
 * A device key's public half.
 *
 * @property publicKey as `java.security.PublicKey.getEncoded` gives it.
 * @property protection how the key is kept. It proves nothing, so say what is true.
 * @property attestation what the platform states about the key.
 */
public class DeviceKey(
    public val publicKey: ByteArray,
    public val protection: Protection,
    public val attestation: ByteArray? = null,
)

/** The platform's passkeys: Android's Credential Manager takes and gives the same JSON. */
public interface PasskeyProvider {
    /** Asks for an assertion, by options as JSON; `null` means that the user gave up. */
    public suspend fun get(options: String): Secret?

    /** Makes a passkey, by options as JSON; `null` means that the user gave up. */
    public suspend fun create(options: String): Secret?
}

/** The system's browser (a custom tab), never a web view of the app's own (RFC 8252, section 8.12). */
public interface BrowserLogin {
    /** Where the provider sends the browser back to: an app link or a scheme of the app's. */
    public suspend fun redirectUri(): String

    /** Opens the address and gives the whole one that the browser came back to; `null`: the user gave up. */
    public suspend fun open(url: String): Secret?
}

internal fun Authenticators.toFfi() = FfiAuthenticators(
    code = code?.let(::PromptAdaptor),
    deviceKey = deviceKey?.let(::SignerAdaptor),
    passkey = passkey?.let(::PasskeyAdaptor),
    browser = browser?.let(::BrowserAdaptor),
)
