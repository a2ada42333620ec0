package mfagate

import kotlin.time.Duration.Companion.minutes
import kotlin.time.Duration.Companion.seconds
import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.awaitCancellation
import kotlinx.coroutines.awaitAll
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

/** The client against a real gate. Waits are generous, and end when the condition holds. */
class ClientTest {
    private fun test(block: suspend kotlinx.coroutines.CoroutineScope.() -> Unit): Unit =
        runBlocking(Dispatchers.Default) { withTimeout(2.minutes, block) }

    private fun Gate.User.prompt() = CodePrompt { Answer.Code(code()) }

    private suspend fun failureOf(call: suspend () -> Unit): MfagateException = try {
        call()
        throw AssertionError("it did not fail")
    } catch (error: MfagateException) {
        error
    }

    @Test
    fun `a code connects and signing out takes the tunnel down`() = test {
        val user = Gate.user()
        val wire = Wire()
        Client(user.profile(), wire).use { client ->
            val connected = client.connect(user.prompt())
            assertTrue(connected.endsIn > 50.minutes, "$connected")
            assertTrue(client.status.first { it is Status.Connected } is Status.Connected)
            val config = checkNotNull(wire.config)
            config.toWgQuick().use { text -> assertTrue("PresharedKey" in String(text)) }
            config.presharedKey.use { key -> assertEquals(32, key.size) }
            assertFalse("PresharedKey" in "$config ${config.presharedKey}")

            client.signOut()
            assertNull(wire.config)
            client.status.first { it == Status.Idle }
        }
        assertEquals("down", wire.said.last())
    }

    @Test
    fun `a wrong code is asked again and the right one admits`() = test {
        val user = Gate.user()
        val asked = mutableListOf<Denied.Reason?>()
        Client(user.profile(), Wire()).use { client ->
            client.connect { challenge ->
                asked += challenge.denied?.reason
                Answer.Code(if (asked.size == 1) "00000000" else user.code())
            }
            assertEquals(2, asked.size)
            assertTrue(asked.last() in listOf(Denied.Reason.WRONG, Denied.Reason.UNFIT), "$asked")
        }
    }

    @Test
    fun `a user who gives up is not connected`() = test {
        val user = Gate.user()
        val wire = Wire()
        Client(user.profile(), wire).use { client ->
            val failure = failureOf { client.connect { null } }
            assertTrue(failure is MfagateException.UserCancelled, "$failure")
            assertEquals("user-cancelled", failure.code)
            val thrown = failureOf { client.connect { throw CallbackFailure.Cancelled() } }
            assertEquals("user-cancelled", thrown.code)
            assertFalse("up" in wire.said)
        }
    }

    @Test
    fun `a revoked session ends and says so`() = test {
        val user = Gate.user()
        val wire = Wire()
        Client(user.profile(), wire).use { client ->
            val ended = async { client.events.first { it is Event.Ended } as Event.Ended }
            client.connect(user.prompt())
            Gate.revoke(user)
            client.networkChanged()
            val event = ended.await()
            assertEquals(SessionEnd.REVOKED, event.reason)
            assertEquals("session-revoked", event.failure.code)
            assertNull(wire.config)
        }
    }

    @Test
    fun `a session is renewed in place`() = test {
        val user = Gate.user()
        val wire = Wire()
        Client(user.profile(), wire).use { client ->
            val first = client.connect(user.prompt())
            val renewed = client.renew()
            assertEquals(first.session, renewed.session)
            assertEquals("renew", wire.said.last())
        }
    }

    @Test
    fun `a killed app picks its session up`() = test {
        val user = Gate.user()
        val key = Secret.generateHandoverKey()
        val before = Client(user.profile(), Wire())
        val connected = before.connect(user.prompt())
        val saved = before.saveSession(key)
        before.detach()

        val wire = Wire()
        val resumed = Client.resume(user.profile(), wire, saved, key)
        resumed.client.use {
            assertNull(resumed.failure)
            assertEquals(connected.session, resumed.connected?.session)
            assertTrue("up" in wire.said)
        }
        before.close()

        val late = Client.resume(user.profile(), Wire(), saved, key)
        late.client.use { assertEquals("session-signed-out", late.failure?.code) }
        val foreign = Client.resume(Gate.user().profile(), Wire(), saved, key)
        foreign.client.use { assertEquals("resume-not-opened", foreign.failure?.code) }
    }

    @Test
    fun `a prompt that throws whatever Java can throw admits no one`() = test {
        val user = Gate.user()
        val wire = Wire()
        Client(user.profile(), wire).use { client ->
            for (thrown in listOf(Error("123456"), StackOverflowError(), IllegalStateException("123456"))) {
                val failure = failureOf { client.connect { throw thrown } }
                assertEquals("prompt-failed", failure.code)
                assertFalse("123456" in "$failure ${failure.stackTraceToString()}")
            }
            assertFalse("up" in wire.said)
        }
    }

    @Test
    fun `cancelling a call stops it on both sides`() = test {
        val user = Gate.user()
        Client(user.profile(), Wire()).use { client ->
            val asked = CompletableDeferred<Unit>()
            val closed = CompletableDeferred<Unit>()
            val hanging = CodePrompt {
                asked.complete(Unit)
                try {
                    awaitCancellation()
                } finally {
                    closed.complete(Unit)
                }
            }
            val call = launch { client.connect(hanging) }
            asked.await()
            call.cancelAndJoin()
            closed.await()
            client.status.first { it == Status.Idle }
            client.connect(user.prompt())
        }
    }

    @Test
    fun `cancel and close end an attempt that hangs`() = test {
        val user = Gate.user()
        val client = Client(user.profile(), Wire())
        for (end in listOf<Pair<String, () -> Unit>>("user-cancelled" to client::cancel, "client-stopped" to client::close)) {
            val asked = CompletableDeferred<Unit>()
            val call = async {
                failureOf {
                    client.connect {
                        asked.complete(Unit)
                        awaitCancellation()
                    }
                }
            }
            asked.await()
            end.second()
            assertEquals(end.first, call.await().code)
        }
        assertEquals("client-stopped", failureOf { client.connect(user.prompt()) }.code)
        assertEquals(Status.Closed, client.status.value)
        client.close()
    }

    @Test
    fun `a tunnel that throws or hangs is down`() = test {
        val settings = ClientSettings(callbackTimeout = 1.seconds)
        val throwing = object : Wire() {
            override suspend fun up(config: TunnelConfig): Unit = throw NoSuchMethodError()
        }
        val hanging = object : Wire() {
            override suspend fun up(config: TunnelConfig): Unit = awaitCancellation()
        }
        for (wire in listOf(throwing, hanging)) {
            val user = Gate.user()
            Client(user.profile(), wire, settings = settings).use { client ->
                assertEquals("session-interface-failed", failureOf { client.connect(user.prompt()) }.code)
                assertEquals("down", wire.said.last())
            }
        }
    }

    @Test
    fun `a transport that throws or lies connects no one`() = test {
        val user = Gate.user()
        val transports = listOf(
            Transport { _, _, _ -> throw LinkageError() } to "transport-failed",
            Transport { _, _, _ -> throw CallbackFailure.NotAvailable() } to "gate-unreachable",
            Transport { _, _, _ -> HttpResponse(200, null, ByteArray(100)) } to "gate-not-authentic",
            Transport { _, _, _ -> HttpResponse(-1, "text/html", ByteArray(0)) } to "gate-bad-gateway",
        )
        for ((transport, code) in transports) {
            Client(user.profile(), Wire(), transport).use { client ->
                assertEquals(code, failureOf { client.connect(user.prompt()) }.code)
            }
        }
    }

    @Test
    fun `of two threads one signs in`() = test {
        val user = Gate.user()
        Client(user.profile(), Wire()).use { client ->
            val outcomes = List(2) { async { runCatching { client.connect(user.prompt()) } } }.awaitAll()
            assertTrue(outcomes.any { it.isSuccess }, "$outcomes")
            client.renew()
        }
    }

    @Test
    fun `clients that come and go leave no callback behind`() = test {
        val user = Gate.user()
        repeat(100) { Client(user.profile(), Wire()).close() }
        assertEquals("client-stopped", failureOf { Client(user.profile(), Wire()).apply { close() }.signOut() }.code)
    }
}
