import Foundation
internal import MFAGateFFI

/// Why a call failed, or a session ended: what an app is to do about it, a stable code, and words for
/// people.
///
/// A call whose task was cancelled throws `CancellationError` instead.
public struct GateError: Error, Sendable, Codable, Hashable {
    /// What an app is to do about a failure.
    public enum Kind: Sendable, Codable, Hashable {
        /// The user wanted it so: say nothing.
        case userCancelled
        /// It took too long: offer to try again.
        case timedOut
        /// The gate, or the way to it, is not there now: try again later.
        case notAvailable
        /// There were too many wrong answers. The date is by this device's clock; without one, an
        /// administrator has to reset the factor.
        case lockedOut(until: Date?)
        /// The gate says no to this user or device: show the explanation, which says who can help.
        case denied
        /// Something is wrong with this device, the app or its profile: show the explanation, and
        /// report the code.
        case fault
    }

    /// What to do about it.
    public let kind: Kind
    /// A stable code, in kebab-case.
    public let code: String
    /// What is wrong and what to do, for people.
    public let explanation: String
    /// Whether the same call may succeed later without anyone changing anything.
    public let isRetryable: Bool
}

extension GateError: LocalizedError {
    public var errorDescription: String? { explanation }
    public var failureReason: String? { code }
}

extension GateError: CustomStringConvertible {
    public var description: String { "\(explanation) (\(code))" }
}

extension GateError {
    init(_ failure: MFAGateFFI.Failure) {
        let kind: Kind =
            switch failure.kind {
            case .userCancelled: .userCancelled
            case .timedOut: .timedOut
            case .notAvailable: .notAvailable
            case .lockedOut: .lockedOut(until: failure.untilMs.map(Date.init(milliseconds:)))
            case .denied: .denied
            case .fault: .fault
            }
        self.init(
            kind: kind, code: failure.code, explanation: failure.explanation,
            isRetryable: failure.isRetryable)
    }

    init(_ error: MFAGateFFI.MfagateError) {
        switch error {
        case let .UserCancelled(code, explanation, isRetryable):
            self.init(
                kind: .userCancelled, code: code, explanation: explanation, isRetryable: isRetryable)
        case let .TimedOut(code, explanation, isRetryable):
            self.init(
                kind: .timedOut, code: code, explanation: explanation, isRetryable: isRetryable)
        case let .NotAvailable(code, explanation, isRetryable):
            self.init(
                kind: .notAvailable, code: code, explanation: explanation, isRetryable: isRetryable)
        case let .LockedOut(code, explanation, isRetryable, untilMs):
            self.init(
                kind: .lockedOut(until: untilMs.map(Date.init(milliseconds:))), code: code,
                explanation: explanation, isRetryable: isRetryable)
        case let .Denied(code, explanation, isRetryable):
            self.init(kind: .denied, code: code, explanation: explanation, isRetryable: isRetryable)
        case let .Fault(code, explanation, isRetryable):
            self.init(kind: .fault, code: code, explanation: explanation, isRetryable: isRetryable)
        }
    }

    /// What a failed call of the library means. The only errors that are not the library's own are a
    /// panic in it, and code that does not fit it.
    init(calling error: any Error) {
        if let error = error as? MFAGateFFI.MfagateError {
            self.init(error)
        } else {
            self.init(
                kind: .fault, code: "panicked",
                explanation: "the library of mfagate failed in a way that it should not: report it",
                isRetryable: false)
        }
    }
}

/// Runs a call of the library and gives its errors as ours.
func translating<T>(_ call: () throws -> T) throws -> T {
    do {
        return try call()
    } catch {
        throw GateError(calling: error)
    }
}

/// Runs an async call of the library that ends early when its task is cancelled.
///
/// Swift does not drop a Rust future when a task is cancelled, so it is told explicitly.
func cancellable<T: Sendable>(
    _ call: @Sendable (MFAGateFFI.Cancellation) async throws -> T
) async throws -> T {
    let cancellation = try translating { try MFAGateFFI.Cancellation() }
    do {
        return try await withTaskCancellationHandler {
            try await call(cancellation)
        } onCancel: {
            try? cancellation.cancel()  // it fails only where nothing works any more
        }
    } catch {
        let error = GateError(calling: error)
        if Task.isCancelled, error.kind == .userCancelled {
            throw CancellationError()
        }
        throw error
    }
}
