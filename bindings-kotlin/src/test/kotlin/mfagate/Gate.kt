package mfagate

import java.net.DatagramSocket
import java.net.InetAddress
import java.net.ServerSocket
import java.nio.file.Files
import java.nio.file.Path
import java.util.concurrent.TimeUnit
import javax.crypto.Mac
import javax.crypto.spec.SecretKeySpec

/** A real gate: the program `gate-server` on loopback, with users who each have a device and an authenticator app. */
object Gate {
    private val folder: Path = Files.createTempDirectory("mfagate")
    private val program: String = System.getProperty("mfagate.gate-server")
    private val daemon: Process
    private val free = ArrayDeque<User>()

    /** A user with a device. */
    class User(val name: String, val toml: String, private val secret: ByteArray) {
        fun profile(): Profile = Profile.fromToml(toml)

        /** What the app shows next, which the gate accepts already: each code admits once. */
        fun code(): String = totp(secret, System.currentTimeMillis() / 1000 / STEP + 1)
    }

    init {
        admin("init")
        val config = folder.resolve("gate.toml")
        val text = Files.readString(config)
            .replace("127.0.0.1:8080", "127.0.0.1:${tcpPort()}")
            .replace("127.0.0.1:51820", "127.0.0.1:${udpPort()}")
            .replace("lease = \"8h\"", "lease = \"1h\"")
            .replace("[\"totp\"]", "[\"totp\", \"device-key\"]")
        Files.writeString(config, text)
        repeat(USERS) { free.add(enrol("user$it")) }
        daemon = start("run")
        Runtime.getRuntime().addShutdownHook(Thread { daemon.destroyForcibly() })
        waitFor(daemon, "is up")
    }

    /** A user whom no other test has. */
    fun user(): User = synchronized(free) { free.removeFirst() }

    fun revoke(user: User): String = admin("revoke", "--user", user.name)

    /** A one-time token to enrol a factor of this kind. */
    fun token(user: User, kind: String): String =
        admin("token", "create", "--user", user.name, "--kind", kind).lineSequence().map { it.trim() }
            .first { it.startsWith("mfe_") }

    private fun enrol(name: String): User {
        admin("user", "add", name)
        admin("peer", "add", "--user", name, "--label", "laptop", "--out", "$name.toml")
        val adding = start("factor", "add-totp", "--user", name)
        val secret = base32(waitFor(adding, "key: ").substringAfter("key: ").trim())
        adding.outputWriter().use { it.write(totp(secret, System.currentTimeMillis() / 1000 / STEP) + "\n") }
        adding.inputReader().readText()
        check(adding.waitFor() == 0) { "the factor of $name is not enrolled" }
        return User(name, Files.readString(folder.resolve("$name.toml")), secret)
    }

    private fun start(vararg arguments: String): Process = ProcessBuilder(program, *arguments)
        .directory(folder.toFile())
        .redirectError(folder.resolve("errors.txt").toFile())
        .start()

    private fun admin(vararg arguments: String): String {
        val running = start(*arguments)
        running.outputWriter().close()
        val said = running.inputReader().readText()
        check(running.waitFor(60, TimeUnit.SECONDS) && running.exitValue() == 0) {
            "${arguments.toList()}: $said ${Files.readString(folder.resolve("errors.txt"))}"
        }
        return said
    }

    private fun waitFor(running: Process, text: String): String =
        checkNotNull(running.inputReader().lineSequence().firstOrNull { text in it }) {
            "it never said $text: ${Files.readString(folder.resolve("errors.txt"))}"
        }

    private fun tcpPort() = ServerSocket(0, 1, InetAddress.getLoopbackAddress()).use { it.localPort }

    private fun udpPort() = DatagramSocket(0, InetAddress.getLoopbackAddress()).use { it.localPort }

    private const val USERS = 20
    private const val STEP = 30
}

/** A time-based one-time password (RFC 6238, RFC 4226). */
fun totp(secret: ByteArray, counter: Long): String {
    val mac = Mac.getInstance("HmacSHA1").apply { init(SecretKeySpec(secret, "HmacSHA1")) }
    val hash = mac.doFinal(java.nio.ByteBuffer.allocate(8).putLong(counter).array())
    val at = hash.last().toInt() and 0xf
    val number = java.nio.ByteBuffer.wrap(hash).getInt(at) and 0x7fff_ffff
    return (number % 1_000_000).toString().padStart(6, '0')
}

/** Base32 (RFC 4648) without padding. */
fun base32(text: String): ByteArray {
    val bits = text.flatMap { char ->
        val value = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".indexOf(char)
        (4 downTo 0).map { value shr it and 1 }
    }
    return bits.chunked(8).filter { it.size == 8 }
        .map { byte -> byte.fold(0) { sum, bit -> sum * 2 + bit }.toByte() }
        .toByteArray()
}
