import Foundation
internal import MFAGateFFI

/// A line of the library's log. No secret is in it.
public struct LogLine: Sendable, Codable, Hashable {
    /// How much a line matters.
    public enum Level: String, Sendable, Codable {
        /// Something failed, and a person should know.
        case error
        /// Something is not as it should be.
        case warn
        /// Something that an operator wants to follow.
        case info
        /// What a developer needs.
        case debug
    }

    /// How much it matters.
    public let level: Level
    /// The module that it comes from.
    public let target: String
    /// What it says, with its fields.
    public let text: String
}

/// Has the library's log lines up to a level given to the app; nil ends that. It is off by default.
public func setLog(
    upTo level: LogLine.Level = .info, _ take: (@Sendable (LogLine) async -> Void)?
) throws {
    try translating {
        try MFAGateFFI.setLog(log: take.map(LogAdaptor.init), level: level.inner)
    }
}

private final class LogAdaptor: MFAGateFFI.Log {
    private let take: @Sendable (LogLine) async -> Void

    init(_ take: @escaping @Sendable (LogLine) async -> Void) {
        self.take = take
    }

    func line(line: MFAGateFFI.LogLine) async throws {
        let level: LogLine.Level =
            switch line.level {
            case .error: .error
            case .warn: .warn
            case .info: .info
            case .debug: .debug
            }
        await take(LogLine(level: level, target: line.target, text: line.text))
    }
}

extension LogLine.Level {
    fileprivate var inner: MFAGateFFI.LogLevel {
        switch self {
        case .error: .error
        case .warn: .warn
        case .info: .info
        case .debug: .debug
        }
    }
}
