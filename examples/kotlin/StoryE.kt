package mfagate.examples

import mfagate.Client
import mfagate.Profile
import mfagate.Secret
import mfagate.Tunnel

// [snippet: resume]
/** (e) Before the system ends the process: what is kept may lie where others can read it, the key not. */
suspend fun keep(client: Client, key: Secret): ByteArray = client.saveSession(key)

/** After that: goes on without a sign-in, or says why the user has to sign in. */
suspend fun pickUp(profile: Profile, tunnel: Tunnel, kept: ByteArray, key: Secret): Client {
    val resumed = Client.resume(profile, tunnel, kept, key)
    resumed.failure?.let { println(it.explanation) }
    return resumed.client
}
// [end]
