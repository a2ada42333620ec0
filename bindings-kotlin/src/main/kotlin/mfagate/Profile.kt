package mfagate

import mfagate.internal.Profile as FfiProfile

/** All that a client needs to know of its location, with the device's private key. Prints no key. */
public class Profile private constructor(internal val inner: FfiProfile) : AutoCloseable {
    /** The location's name, for people. */
    public val location: String get() = translated { inner.location() }

    /** The device's WireGuard public key, in Base64. */
    public val publicKey: String get() = translated { inner.publicKey() }

    /** The control URLs of the location's gates. */
    public val control: List<String> get() = translated { inner.control() }

    /** The device's own addresses inside the tunnel, as networks. */
    public val addresses: List<String> get() = translated { inner.addresses() }

    /** What is routed into the tunnel, as networks. */
    public val allowedIps: List<String> get() = translated { inner.allowedIps() }

    /** Resolvers inside the tunnel. */
    public val dns: List<String> get() = translated { inner.dns() }

    /** The largest packet inside the tunnel, in bytes; `null` leaves it to who makes the interface. */
    public val mtu: Int? get() = translated { inner.mtu() }?.toInt()

    /** The profile as TOML with its private key, for the system's store for secrets. */
    public fun exposeToml(): Secret = Secret(translated { inner.exposeToml() })

    /** Wipes it. Clients that were made of it go on. */
    override fun close(): Unit = inner.destroy()

    override fun toString(): String = "Profile(location=$location)"

    public companion object {
        /**
         * Reads a profile as an administrator hands it out.
         *
         * @throws MfagateException.Fault where it is none, with the name of the field and no value.
         */
        public fun fromToml(text: String): Profile = Profile(translated { FfiProfile.fromToml(text) })
    }
}
