import Foundation
import XCTest

@testable import MFAGate

/// A session that goes from one client to another: of a later process, or of the app's extension.
final class HandoverTests: XCTestCase {
    func testASavedSessionIsGoneOnWith() async throws {
        let site = try Site()
        let profile = try Profile(toml: site.profile())
        let (first, second) = (RecordedTunnel(), RecordedTunnel())
        let client = try Client(profile: profile, tunnel: first)
        let code = try site.code()
        let connected = try await client.connect { _ in try .code(code) }
        let key = try HandoverKey()
        let saved = try await client.saveSession(key: key)
        try client.detach()

        let text = try JSONEncoder().encode(saved)
        let kept = try JSONDecoder().decode(SavedSession.self, from: text)
        let sameKey = try HandoverKey(bytes: key.exposeBytes())
        let resumed = try await Client.resume(kept, key: sameKey, profile: profile, tunnel: second)
        XCTAssertNil(resumed.failure)
        XCTAssertEqual(resumed.connected?.session, connected.session)
        let (keys, sameKeys) = (await first.presharedKeys, await second.presharedKeys)
        XCTAssertEqual(keys, sameKeys)
        XCTAssertTrue(try site.admin("sessions", "--json").contains(connected.session))
        try await resumed.client.close()
        XCTAssertFalse(try site.admin("sessions", "--json").contains(connected.session))
    }

    func testASessionThatWasAlteredOrIsAnothersDoesNotOpen() async throws {
        let site = try Site()
        let profile = try Profile(toml: site.profile())
        let client = try Client(profile: profile, tunnel: RecordedTunnel())
        let code = try site.code()
        try await client.connect { _ in try .code(code) }
        let key = try HandoverKey()
        let saved = try await client.saveSession(key: key)
        try client.detach()

        var altered = saved.data
        altered[altered.count - 1] ^= 1
        var newer = saved.data
        newer[0] = 99
        for (data, key) in [(altered, key), (newer, key), (saved.data, try HandoverKey())] {
            let tunnel = RecordedTunnel()
            let resumed = try await Client.resume(
                SavedSession(data: data), key: key, profile: profile, tunnel: tunnel)
            XCTAssertNil(resumed.connected)
            XCTAssertEqual(resumed.failure?.kind, .fault)
            let calls = await tunnel.calls
            XCTAssertFalse(calls.contains("up"))
        }
        XCTAssertThrowsError(try HandoverKey(bytes: Data(count: 31)))
    }

    func testTheExtensionGoesOnWithWhatTheAppSignedIn() async throws {
        let site = try Site()
        let profile = try Profile(toml: site.profile())
        let file = site.folder.appendingPathComponent("session")
        let (store, key) = (FileSessionStore(file: file), try HandoverKey())
        let notices = Collected<ExtensionHalf.Notice>()
        let tunnel = RecordedTunnel()
        let half = ExtensionHalf(profile: profile, store: store, key: key, tunnel: tunnel) {
            await notices.add($0)
        }
        do {
            _ = try await half.start()
            XCTFail("there was no session")
        } catch let error as GateError {
            XCTAssertEqual(error.code, "mfa-required")
        }
        let first = await notices.all
        XCTAssertEqual(first, [.mfaRequired(nil)])

        let code = try site.code()
        let app = AppHalf(profile: profile, store: store, key: key)
        let signedIn = try await app.signIn(Authenticators { _ in try .code(code) })
        let connected = try await half.start()
        XCTAssertEqual(connected?.session, signedIn.session)
        let isSettled = try await eventually { await notices.all.last == .settled }
        XCTAssertTrue(isSettled)
        let isUp = await tunnel.isUp
        XCTAssertTrue(isUp)

        // The extension's process ends and begins again.
        await half.stop()
        let again = try await half.start()
        XCTAssertEqual(again?.session, signedIn.session)

        try site.admin("revoke", "--user", "alice")
        try await half.client?.networkChanged()
        let isTold = try await eventually {
            if case let .mfaRequired(error?) = await notices.all.last { error.kind == .denied } else { false }
        }
        XCTAssertTrue(isTold)
        let left = try await store.load()
        XCTAssertNil(left)
        let isDown = try await eventually { await !tunnel.isUp }
        XCTAssertTrue(isDown)
    }

    func testASignInThatCanNotBeKeptLeavesNoSession() async throws {
        struct FullDisk: SessionStore {
            func load() async throws -> SavedSession? { nil }
            func save(_ saved: SavedSession?) async throws { throw AppError(secret: "") }
        }
        let site = try Site()
        let profile = try Profile(toml: site.profile())
        let app = AppHalf(profile: profile, store: FullDisk(), key: try HandoverKey())
        let code = try site.code()
        do {
            let connected = try await app.signIn(Authenticators { _ in try .code(code) })
            XCTFail("\(connected)")
        } catch {
            XCTAssertTrue(error is AppError)
        }
        let isEnded = try await eventually {
            try !site.admin("sessions", "--json").contains("alice")
        }
        XCTAssertTrue(isEnded)
    }
}
