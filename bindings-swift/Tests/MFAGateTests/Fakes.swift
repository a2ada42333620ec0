import Foundation
@testable import MFAGate

/// A tunnel that only remembers what was asked of it.
actor RecordedTunnel: Tunnel {
    private(set) var calls: [String] = []
    private(set) var presharedKeys: [String] = []
    private(set) var isUp = false
    private let onUp: @Sendable () async throws -> Void

    init(onUp: @escaping @Sendable () async throws -> Void = {}) {
        self.onUp = onUp
    }

    func up(_ config: TunnelConfig) async throws {
        calls.append("up")
        presharedKeys.append(try config.presharedKey().exposeBytes().base64EncodedString())
        try await onUp()
        isUp = true
    }

    func renew(_ config: TunnelConfig) async throws {
        calls.append("renew")
        presharedKeys.append(try config.presharedKey().exposeBytes().base64EncodedString())
    }

    func down() async throws {
        calls.append("down")
        isUp = false
    }

    func traffic() async throws -> Traffic? {
        isUp ? Traffic() : nil
    }
}

/// Lines, notices or events that come from other tasks.
actor Collected<Element: Sendable> {
    private(set) var all: [Element] = []

    func add(_ element: Element) {
        all.append(element)
    }
}

/// An error of the app's own, with something in it that must not be passed on.
struct AppError: Error {
    let secret: String
}

/// Waits until something holds: for as long as a slow machine may take, and no longer than it has to.
func eventually(
    within limit: Duration = .seconds(60), _ holds: () async throws -> Bool
) async throws -> Bool {
    let end = ContinuousClock.now + limit
    while ContinuousClock.now < end {
        if try await holds() { return true }
        try await Task.sleep(for: .milliseconds(20))
    }
    return try await holds()
}

extension AsyncStream where Element: Sendable {
    /// The first element that fits, or nil where the stream ends or the time is over.
    func first(
        within limit: Duration = .seconds(60), where fits: @escaping @Sendable (Element) -> Bool
    ) async -> Element? {
        await withTaskGroup(of: Element?.self) { group in
            group.addTask {
                for await element in self where fits(element) { return element }
                return nil
            }
            group.addTask {
                try? await Task.sleep(for: limit)
                return nil
            }
            defer { group.cancelAll() }
            return await group.next() ?? nil
        }
    }
}
