package mfagate.examples

import kotlinx.coroutines.flow.takeWhile
import mfagate.Authenticators
import mfagate.Client
import mfagate.Event
import mfagate.Needs

// [snippet: events]
/** (d) Watches a session: warns, has the user sign in again in time, and says why it is over. */
suspend fun watch(client: Client, user: Authenticators, say: (String) -> Unit) {
    client.events.takeWhile { it != Event.Closed }.collect { event ->
        when (event) {
            is Event.Ending -> {
                say("the session ends in ${event.endsIn}")
                if (event.needs == Needs.FACTOR) client.reauthenticate(user)
            }
            is Event.Unreachable -> say(event.failure.explanation)
            is Event.Ended -> say(event.failure.explanation)
            else -> {}
        }
    }
}
// [end]
