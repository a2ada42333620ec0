package mfagate

/**
 * Posts over HTTP. It follows no redirect and keeps no cookie; calls may overlap. All that it carries is
 * ciphertext.
 */
public fun interface Transport {
    /**
     * Posts a body and gives the response, whatever its status.
     *
     * @throws CallbackFailure.NotAvailable when no connection can be made.
     * @throws CallbackFailure.Refused when the certificate is not accepted.
     */
    public suspend fun post(url: String, contentType: String, body: ByteArray): HttpResponse
}

/** A response. */
public class HttpResponse(
    public val status: Int,
    public val contentType: String?,
    public val body: ByteArray,
)
