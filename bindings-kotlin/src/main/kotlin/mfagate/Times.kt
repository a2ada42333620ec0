package mfagate

import java.time.Instant
import kotlin.time.Duration
import kotlin.time.Duration.Companion.milliseconds

internal fun ULong.toInstant(): Instant = Instant.ofEpochMilli(toLong().coerceAtLeast(0))

internal fun ULong.toDuration(): Duration =
    if (this > Long.MAX_VALUE.toULong()) Duration.INFINITE else toLong().milliseconds

internal fun Duration.toMillis(): ULong = inWholeMilliseconds.coerceAtLeast(0).toULong()
