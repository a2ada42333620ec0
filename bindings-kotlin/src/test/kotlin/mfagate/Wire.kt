package mfagate

import java.time.Instant
import java.util.Collections

/** A WireGuard of the tests': it notes what it is told. */
open class Wire : Tunnel {
    val said: MutableList<String> = Collections.synchronizedList(mutableListOf<String>())

    @Volatile
    var config: TunnelConfig? = null

    override suspend fun up(config: TunnelConfig) {
        this.config = config
        said += "up"
    }

    override suspend fun renew(config: TunnelConfig) {
        this.config = config
        said += "renew"
    }

    override suspend fun down() {
        config = null
        said += "down"
    }

    override suspend fun traffic(): Traffic? = config?.let { Traffic(Instant.now(), 1, 1) }
}
