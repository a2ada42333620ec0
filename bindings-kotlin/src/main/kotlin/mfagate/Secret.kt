package mfagate

import mfagate.internal.SecretBytes

/**
 * Bytes, or a text, that are not for other eyes. It prints nothing, is kept outside of the Java heap
 * and is wiped when it is closed.
 */
public class Secret internal constructor(internal val inner: SecretBytes) : AutoCloseable {
    /** Lends the bytes for as long as [block] runs, and wipes the copy then. */
    public fun <T> use(block: (ByteArray) -> T): T {
        val bytes = translated { inner.expose() }
        return try {
            block(bytes)
        } finally {
            bytes.fill(0)
        }
    }

    /** The text. A string of Java's can't be wiped: the caller is responsible for where it goes. */
    public fun exposeText(): String = translated { inner.exposeText() }

    /** Wipes it. */
    override fun close(): Unit = inner.destroy()

    override fun toString(): String = "Secret([redacted])"

    public companion object {
        /** A secret of these bytes. The caller's own copy stays the caller's to wipe. */
        public fun of(bytes: ByteArray): Secret = Secret(translated { SecretBytes(bytes) })

        /** A secret that is a text, such as a password. */
        public fun ofText(text: String): Secret = Secret(translated { SecretBytes.fromText(text) })

        /**
         * A fresh key with which sessions are saved. It belongs in the system's store for secrets: the
         * Android key store, a keyring.
         */
        public fun generateHandoverKey(): Secret = Secret(translated { SecretBytes.generateHandoverKey() })
    }
}
