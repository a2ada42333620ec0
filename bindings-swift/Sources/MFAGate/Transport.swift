import Foundation

#if canImport(FoundationNetworking)
    import FoundationNetworking
#endif

/// The way to the gate: posts over HTTP. What goes through is ciphertext.
public protocol Transport: Sendable {
    /// Posts a body and gives the response, whatever its status. It follows no redirect and keeps no
    /// cookie. Calls may overlap, and their tasks may be cancelled.
    ///
    /// Throws ``CallbackError/notAvailable`` when no connection can be made, and
    /// ``CallbackError/refused`` when the certificate is not accepted.
    func post(_ url: URL, contentType: String, body: Data) async throws -> HTTPResponse
}

/// A response.
public struct HTTPResponse: Sendable, Codable, Hashable {
    /// Its status.
    public let status: UInt16
    /// Its content type, where it has one.
    public let contentType: String?
    /// Its body.
    public let body: Data

    public init(status: UInt16, contentType: String?, body: Data) {
        self.status = status
        self.contentType = contentType
        self.body = body
    }
}

/// The platform's own HTTP stack. In a packet-tunnel extension its connections stay outside the
/// tunnel, as all of an extension's do.
public final class URLSessionTransport: Transport {
    /// What the gate sends at most is shorter; what is longer is not read to its end.
    private static let longest = 65_536

    private let session: URLSession
    private let exchanges: Exchanges

    /// A transport with a session of its own: no cookies, no cache, no credentials on disk.
    public init(configuration: URLSessionConfiguration = .ephemeral) {
        configuration.httpCookieStorage = nil
        configuration.urlCache = nil
        configuration.urlCredentialStorage = nil
        exchanges = Exchanges(longest: Self.longest)
        session = URLSession(configuration: configuration, delegate: exchanges, delegateQueue: nil)
    }

    deinit {
        // A session holds its delegate until it is told so.
        session.finishTasksAndInvalidate()
    }

    public func post(_ url: URL, contentType: String, body: Data) async throws -> HTTPResponse {
        var request = URLRequest(url: url)
        request.httpMethod = "POST"
        request.httpBody = body
        request.setValue(contentType, forHTTPHeaderField: "Content-Type")
        let task = session.dataTask(with: request)
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                exchanges.begin(task, continuation)
                task.resume()
            }
        } onCancel: {
            task.cancel()
        }
    }
}

/// The exchanges under way. Each is continued exactly once: by whatever takes it out.
private final class Exchanges: NSObject, URLSessionDataDelegate, @unchecked Sendable {
    private struct Exchange {
        let continuation: CheckedContinuation<HTTPResponse, any Error>
        var response: HTTPURLResponse?
        var body = Data()
    }

    private let longest: Int
    private let lock = NSLock()
    private var underWay: [Int: Exchange] = [:]

    init(longest: Int) {
        self.longest = longest
    }

    func begin(
        _ task: URLSessionTask, _ continuation: CheckedContinuation<HTTPResponse, any Error>
    ) {
        lock.withLock { underWay[task.taskIdentifier] = Exchange(continuation: continuation) }
    }

    func urlSession(
        _ session: URLSession, task: URLSessionTask,
        willPerformHTTPRedirection response: HTTPURLResponse, newRequest request: URLRequest,
        completionHandler: @escaping (URLRequest?) -> Void
    ) {
        completionHandler(nil)
    }

    func urlSession(
        _ session: URLSession, dataTask: URLSessionDataTask, didReceive response: URLResponse,
        completionHandler: @escaping (URLSession.ResponseDisposition) -> Void
    ) {
        lock.withLock {
            underWay[dataTask.taskIdentifier]?.response = response as? HTTPURLResponse
        }
        completionHandler(.allow)
    }

    func urlSession(_ session: URLSession, dataTask: URLSessionDataTask, didReceive data: Data) {
        let isTooLong = lock.withLock {
            underWay[dataTask.taskIdentifier]?.body.append(data)
            return (underWay[dataTask.taskIdentifier]?.body.count ?? 0) > longest
        }
        // The library refuses a body of this length, so no more of it is needed.
        if isTooLong {
            finish(dataTask, nil)
            dataTask.cancel()
        }
    }

    func urlSession(_ session: URLSession, task: URLSessionTask, didCompleteWithError error: (any Error)?) {
        finish(task, error)
    }

    private func finish(_ task: URLSessionTask, _ error: (any Error)?) {
        guard let exchange = lock.withLock({ underWay.removeValue(forKey: task.taskIdentifier) })
        else { return }
        // A redirect that was not followed has its response with the task.
        let response = exchange.response ?? task.response as? HTTPURLResponse
        if let error {
            exchange.continuation.resume(throwing: callbackError(error))
        } else if let response, let status = UInt16(exactly: response.statusCode) {
            exchange.continuation.resume(
                returning: HTTPResponse(
                    status: status, contentType: response.value(forHTTPHeaderField: "Content-Type"),
                    body: exchange.body))
        } else {
            exchange.continuation.resume(throwing: CallbackError.notAvailable)
        }
    }
}

private func callbackError(_ error: any Error) -> CallbackError {
    switch (error as? URLError)?.code {
    case .timedOut: .timedOut
    case .cancelled: .cancelled
    case .secureConnectionFailed, .serverCertificateUntrusted, .serverCertificateHasBadDate,
        .serverCertificateHasUnknownRoot, .serverCertificateNotYetValid,
        .clientCertificateRejected, .clientCertificateRequired:
        .refused
    default: .notAvailable
    }
}
