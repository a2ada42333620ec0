package mfagate

import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

/** Nothing that Kotlin prints has a secret. */
class SecretTest {
    private val toml = """
        location = "office"
        location_key = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="
        control = ["http://127.0.0.1:1"]
        endpoint = "127.0.0.1:51820"
        private_key = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="
        addresses = ["10.9.0.2/32"]
        allowed_ips = ["10.9.0.0/24"]
    """.trimIndent()

    @Test
    fun `no secret is in what prints`() {
        val profile = Profile.fromToml(toml)
        val printed = listOf(
            profile,
            Secret.ofText("BwcHBw"),
            profile.exposeToml(),
            Answer.Code("123456"),
            Answer.Password(Secret.ofText("BwcHBw")),
            Denied(Denied.Reason.WRONG, 3, null),
        ).joinToString()
        assertFalse("BwcHBw" in printed || "123456" in printed, printed)
        assertTrue("BwcHBw" in profile.exposeToml().exposeText())
    }

    @Test
    fun `an error names a field and no value`() {
        val error = assertThrows(MfagateException.Fault::class.java) { Profile.fromToml(toml.replace("Bwc=", "Bwc")) }
        assertEquals("profile-invalid", error.code)
        assertFalse("BwcHBw" in error.stackTraceToString())
        val code = assertThrows(MfagateException.Fault::class.java) { Answer.Code("12345x") }
        assertEquals("invalid-code", code.code)
        assertFalse("12345x" in code.stackTraceToString())
    }

    @Test
    fun `bytes are lent and wiped`() {
        val lent = Secret.of(byteArrayOf(1, 2, 3)).use { bytes -> bytes.also { assertEquals(2, it[1]) } }
        assertTrue(lent.all { it == 0.toByte() })
    }

    @Test
    fun `the version is that of the package`() = assertEquals("0.1.0", version())
}
