package mfagate.examples

import mfagate.Answer
import mfagate.Challenge
import mfagate.Client
import mfagate.CodePrompt
import mfagate.Profile
import mfagate.Tunnel

/** (a) Connects with a code. The tunnel is the app's WireGuard; [ask] shows the user a window. */
suspend fun connectWithACode(
    toml: String,
    tunnel: Tunnel,
    ask: suspend (String) -> String?,
    use: suspend () -> Unit,
) {
    // [snippet: connect]
    val prompt = CodePrompt { asked ->
        when (asked.challenge) {
            is Challenge.Code -> ask("Code of ${asked.factor?.label}")?.let { Answer.Code(it) }
            else -> null
        }
    }
    Client(Profile.fromToml(toml), tunnel).use { client ->
        val connected = client.connect(prompt)
        println("connected as ${connected.addresses} for ${connected.endsIn}")
        use()
    }
    // [end]
}
