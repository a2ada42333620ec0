package mfagate.examples

import java.security.KeyPair
import java.security.Signature
import mfagate.Authenticators
import mfagate.Client
import mfagate.DeviceKey
import mfagate.DeviceKeySigner
import mfagate.Protection
import mfagate.Secret

// [snippet: device_key]
/** (b) A device key signs. On Android the pair is in StrongBox, and the user is asked for a finger. */
class KeyPairSigner(private val pair: KeyPair) : DeviceKeySigner {
    override suspend fun publicKey() = DeviceKey(pair.public.encoded, Protection.SOFTWARE)

    override suspend fun sign(data: ByteArray): ByteArray =
        Signature.getInstance("SHA256withECDSA").run {
            initSign(pair.private)
            update(data)
            sign()
        }
}

/** Enrols the key with a token from the administrator, and signs in with it. */
suspend fun connectWithAKey(client: Client, pair: KeyPair, token: String) {
    val key = Authenticators(deviceKey = KeyPairSigner(pair))
    client.enrol("device-key", "phone", key, Secret.ofText(token))
    client.connect(key)
}
// [end]
