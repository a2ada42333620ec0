package mfagate

import java.security.KeyPairGenerator
import java.util.concurrent.ConcurrentLinkedQueue
import kotlin.time.Duration.Companion.minutes
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import mfagate.examples.connectWithACode
import mfagate.examples.connectWithAKey
import mfagate.examples.keep
import mfagate.examples.pickUp
import mfagate.examples.watch
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

/** The stories of examples/kotlin, run against a real gate. */
class StoriesTest {
    private fun test(block: suspend CoroutineScope.() -> Unit): Unit =
        runBlocking(Dispatchers.Default) { withTimeout(2.minutes, block) }

    @Test
    fun `a code connects`() = test {
        val user = Gate.user()
        val wire = Wire()
        connectWithACode(user.toml, wire, { user.code() }) { assertEquals("up", wire.said.last()) }
        assertEquals("down", wire.said.last())
    }

    @Test
    fun `a device key signs`() = test {
        val user = Gate.user()
        val pair = KeyPairGenerator.getInstance("EC").apply { initialize(256) }.generateKeyPair()
        val wire = Wire()
        Client(user.profile(), wire).use { client ->
            connectWithAKey(client, pair, Gate.token(user, "device-key"))
            assertEquals("up", wire.said.last())
        }
    }

    @Test
    fun `events are watched until the session is revoked`() = test {
        val user = Gate.user()
        val said = ConcurrentLinkedQueue<String>()
        val client = Client(user.profile(), Wire())
        val watching = launch(start = CoroutineStart.UNDISPATCHED) { watch(client, Authenticators(), said::add) }
        client.connect { Answer.Code(user.code()) }
        Gate.revoke(user)
        client.networkChanged()
        client.status.first { it == Status.Idle }
        client.close()
        watching.join()
        assertTrue(said.any { "revoked" in it }, "$said")
    }

    @Test
    fun `a killed process picks its session up`() = test {
        val user = Gate.user()
        val key = Secret.generateHandoverKey()
        val killed = Client(user.profile(), Wire())
        killed.connect { Answer.Code(user.code()) }
        val kept = keep(killed, key)
        killed.detach()

        val wire = Wire()
        pickUp(user.profile(), wire, kept, key).use { assertTrue(it.status.value is Status.Connected) }
        killed.close()
    }
}
