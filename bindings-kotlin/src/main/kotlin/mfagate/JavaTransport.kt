package mfagate

import java.io.IOException
import java.net.URI
import java.net.http.HttpClient
import java.net.http.HttpRequest
import java.net.http.HttpResponse.BodyHandlers
import java.net.http.HttpTimeoutException
import java.time.Duration
import javax.net.ssl.SSLException
import kotlinx.coroutines.future.await

/** The control channel over `java.net.http`. Android has none: [Transport] over OkHttp there. */
public class JavaTransport(
    private val http: HttpClient = HttpClient.newBuilder()
        .followRedirects(HttpClient.Redirect.NEVER)
        .connectTimeout(Duration.ofSeconds(5))
        .build(),
) : Transport {
    override suspend fun post(url: String, contentType: String, body: ByteArray): HttpResponse {
        val request = HttpRequest.newBuilder(URI(url))
            .timeout(Duration.ofSeconds(10))
            .header("Content-Type", contentType)
            .POST(HttpRequest.BodyPublishers.ofByteArray(body))
            .build()
        try {
            val response = http.sendAsync(request, BodyHandlers.ofInputStream()).await()
            val head = response.body().use { it.readNBytes(LONGEST + 1) }
            return HttpResponse(response.statusCode(), response.headers().firstValue("Content-Type").orElse(null), head)
        } catch (_: HttpTimeoutException) {
            throw CallbackFailure.TimedOut()
        } catch (_: SSLException) {
            throw CallbackFailure.Refused()
        } catch (_: IOException) {
            throw CallbackFailure.NotAvailable()
        }
    }

    private companion object {
        /** No body of the protocol is longer; one byte more shows that it is. */
        const val LONGEST = 65_535
    }
}
