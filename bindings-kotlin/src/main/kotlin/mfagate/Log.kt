package mfagate

import mfagate.internal.LogLevel as FfiLogLevel
import mfagate.internal.setLog as ffiSetLog
import mfagate.internal.version as ffiVersion

/** Takes log lines. What it throws is ignored. */
public fun interface Log {
    /** Takes one line. */
    public suspend fun line(line: LogLine)

    /** Where lines are sent. */
    public companion object {
        /** Has the library's log lines up to [level] given to [log]; `null` ends that. Off by default. */
        public fun set(log: Log?, level: LogLevel = LogLevel.INFO): Unit =
            translated { ffiSetLog(log?.let(::LogAdaptor), level.toFfi()) }
    }
}

/**
 * A line. No secret is in it.
 *
 * @property target the module that it comes from.
 */
public data class LogLine internal constructor(
    public val level: LogLevel,
    public val target: String,
    public val text: String,
)

/** How much a line matters. */
public enum class LogLevel { ERROR, WARN, INFO, DEBUG }

internal fun FfiLogLevel.toPublic() = when (this) {
    FfiLogLevel.ERROR -> LogLevel.ERROR
    FfiLogLevel.WARN -> LogLevel.WARN
    FfiLogLevel.INFO -> LogLevel.INFO
    FfiLogLevel.DEBUG -> LogLevel.DEBUG
}

internal fun LogLevel.toFfi() = when (this) {
    LogLevel.ERROR -> FfiLogLevel.ERROR
    LogLevel.WARN -> FfiLogLevel.WARN
    LogLevel.INFO -> FfiLogLevel.INFO
    LogLevel.DEBUG -> FfiLogLevel.DEBUG
}

/** The version of the library. */
public fun version(): String = translated { ffiVersion() }
