import Foundation
internal import MFAGateFFI

/// Passes the events of a client on to each of its readers. It holds no `Client` of ours, so that one
/// that is let go of is deallocated.
final class EventReaders: @unchecked Sendable {
    private static let most = 256

    private let lock = NSLock()
    private var continuations: [UInt64: AsyncStream<Event>.Continuation]? = [:]
    private var next: UInt64 = 0
    /// What happened before there was a reader.
    private var before: [Event]? = []
    private let stopping: MFAGateFFI.Cancellation?

    init(of client: MFAGateFFI.Client) {
        let stopping = try? MFAGateFFI.Cancellation()
        self.stopping = stopping
        Task { [weak self] in
            while let event = try? await client.nextEvent(cancellation: stopping) {
                self?.pass(Event(event))
            }
            self?.finish()
        }
    }

    func add() -> AsyncStream<Event> {
        let (stream, continuation) = AsyncStream.makeStream(
            of: Event.self, bufferingPolicy: .bufferingNewest(Self.most))
        let number = lock.withLock { () -> UInt64? in
            guard continuations != nil else { return nil }
            next += 1
            continuations?[next] = continuation
            for event in before ?? [] {
                continuation.yield(event)
            }
            before = nil
            return next
        }
        guard let number else {
            for event in lock.withLock({ take(&before) }) {
                continuation.yield(event)
            }
            continuation.finish()
            return stream
        }
        continuation.onTermination = { [weak self] _ in
            guard let self else { return }
            _ = lock.withLock { self.continuations?.removeValue(forKey: number) }
        }
        return stream
    }

    /// Ends the task that reads, which would hold the library's client forever.
    func stop() {
        try? stopping?.cancel()  // it fails only where nothing works any more
        finish()
    }

    private func pass(_ event: Event) {
        // While the lock is held, so that each reader gets the events in their order.
        lock.withLock {
            if let kept = before?.count, kept < Self.most {
                before?.append(event)
            }
            for continuation in continuations?.values ?? [:].values {
                continuation.yield(event)
            }
        }
    }

    private func take(_ events: inout [Event]?) -> [Event] {
        defer { events = nil }
        return events ?? []
    }

    private func finish() {
        // Not while the lock is held: it calls `onTermination`, which takes it.
        let all = lock.withLock {
            defer { continuations = nil }
            return continuations.map { Array($0.values) } ?? []
        }
        for continuation in all {
            continuation.finish()
        }
    }
}
