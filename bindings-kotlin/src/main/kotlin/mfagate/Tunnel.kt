package mfagate

import java.time.Instant
import kotlin.time.Duration
import kotlin.time.Duration.Companion.seconds
import mfagate.internal.Traffic as FfiTraffic
import mfagate.internal.TunnelConfig as FfiTunnelConfig

/**
 * The app's WireGuard: four methods over whatever implementation the app has. Calls come one at a time;
 * one that is given up is followed by [down].
 */
public interface Tunnel {
    /** Brings the tunnel up with exactly this configuration, in place of whatever was there. */
    public suspend fun up(config: TunnelConfig)

    /** Changes the tunnel to a renewed configuration, without a gap where the implementation can. */
    public suspend fun renew(config: TunnelConfig): Unit = up(config)

    /** Takes the tunnel down. Returns when no more packets pass. Succeeds where it is down. */
    public suspend fun down()

    /** What is known of the traffic; `null` where no tunnel is up, which ends the session. */
    public suspend fun traffic(): Traffic?
}

/**
 * The tunnel's traffic since it was brought up.
 *
 * @property received bytes that came from the gate.
 * @property sent bytes that went to the gate.
 */
public data class Traffic(
    public val lastHandshake: Instant?,
    public val received: Long,
    public val sent: Long,
)

internal fun Traffic.toFfi() = FfiTraffic(
    lastHandshake?.toEpochMilli()?.coerceAtLeast(0)?.toULong(),
    received.coerceAtLeast(0).toULong(),
    sent.coerceAtLeast(0).toULong(),
)

/** What a tunnel is brought up with. It holds both keys and prints neither. */
public class TunnelConfig internal constructor(private val inner: FfiTunnelConfig) {
    /** The device's private key: 32 bytes. */
    public val privateKey: Secret get() = Secret(translated { inner.privateKey() })

    /** The location's public key, in Base64. */
    public val publicKey: String get() = translated { inner.publicKey() }

    /** The preshared key: 32 bytes. */
    public val presharedKey: Secret get() = Secret(translated { inner.presharedKey() })

    /** Where to send first, as an address and a port. */
    public val endpoint: String? get() = translated { inner.endpoint() }

    /** What is routed into the tunnel, as networks. */
    public val allowedIps: List<String> get() = translated { inner.allowedIps() }

    /** The persistent keepalive; `null` is off. */
    public val keepalive: Duration? get() = translated { inner.keepaliveSeconds() }?.toLong()?.seconds

    /** The device's own addresses inside the tunnel, as networks. */
    public val addresses: List<String> get() = translated { inner.addresses() }

    /** Resolvers inside the tunnel. */
    public val dns: List<String> get() = translated { inner.dns() }

    /** The largest packet inside the tunnel, in bytes. */
    public val mtu: Int? get() = translated { inner.mtu() }?.toInt()

    /** The text of a file for `wg-quick`, which `com.wireguard.config.Config.parse` reads as well. */
    public fun toWgQuick(): Secret = Secret(translated { inner.toWgQuick() })

    /** The peer as lines of WireGuard's cross-platform configuration protocol. */
    public fun toUapi(): Secret = Secret(translated { inner.toUapi() })

    override fun toString(): String = "TunnelConfig(endpoint=$endpoint)"
}
