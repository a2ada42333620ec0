package mfagate

import mfagate.internal.AuthChallenge as FfiAuthChallenge
import mfagate.internal.BrowserLogin as FfiBrowserLogin
import mfagate.internal.CodePrompt as FfiCodePrompt
import mfagate.internal.DeviceKey as FfiDeviceKey
import mfagate.internal.DeviceKeySigner as FfiDeviceKeySigner
import mfagate.internal.HttpResponse as FfiHttpResponse
import mfagate.internal.Log as FfiLog
import mfagate.internal.LogLine as FfiLogLine
import mfagate.internal.PasskeyProvider as FfiPasskeyProvider
import mfagate.internal.Response as FfiResponse
import mfagate.internal.SecretBytes
import mfagate.internal.Traffic as FfiTraffic
import mfagate.internal.Transport as FfiTransport
import mfagate.internal.Tunnel as FfiTunnel
import mfagate.internal.TunnelConfig as FfiTunnelConfig

// The app's interfaces as Rust calls them. Each catches whatever is thrown.

internal class TransportAdaptor(private val transport: Transport) : FfiTransport {
    override suspend fun post(url: String, contentType: String, body: ByteArray): FfiHttpResponse = guarded {
        val response = transport.post(url, contentType, body)
        FfiHttpResponse(response.status.toUShort(), response.contentType, response.body)
    }
}

internal class TunnelAdaptor(private val tunnel: Tunnel) : FfiTunnel {
    override suspend fun up(config: FfiTunnelConfig): Unit = guarded { tunnel.up(TunnelConfig(config)) }

    override suspend fun renew(config: FfiTunnelConfig): Unit = guarded { tunnel.renew(TunnelConfig(config)) }

    override suspend fun down(): Unit = guarded { tunnel.down() }

    override suspend fun traffic(): FfiTraffic? = guarded { tunnel.traffic()?.toFfi() }
}

internal class PromptAdaptor(private val prompt: CodePrompt) : FfiCodePrompt {
    override suspend fun answer(challenge: FfiAuthChallenge): FfiResponse? =
        guarded { prompt.answer(challenge.toPublic())?.toFfi() }
}

internal class SignerAdaptor(private val signer: DeviceKeySigner) : FfiDeviceKeySigner {
    override suspend fun publicKey(): FfiDeviceKey = guarded {
        val key = signer.publicKey()
        FfiDeviceKey(key.publicKey, key.protection.toFfi(), key.attestation)
    }

    override suspend fun sign(data: ByteArray): ByteArray = guarded { signer.sign(data) }
}

internal class PasskeyAdaptor(private val passkey: PasskeyProvider) : FfiPasskeyProvider {
    override suspend fun get(options: String): SecretBytes? = guarded { passkey.get(options)?.inner }

    override suspend fun create(options: String): SecretBytes? = guarded { passkey.create(options)?.inner }
}

internal class BrowserAdaptor(private val browser: BrowserLogin) : FfiBrowserLogin {
    override suspend fun redirectUri(): String = guarded { browser.redirectUri() }

    override suspend fun open(url: String): SecretBytes? = guarded { browser.open(url)?.inner }
}

internal class LogAdaptor(private val log: Log) : FfiLog {
    override suspend fun line(line: FfiLogLine): Unit =
        guarded { log.line(LogLine(line.level.toPublic(), line.target, line.text)) }
}
