import Foundation
import XCTest

@testable import MFAGate

/// The client against a real gate.
final class ClientTests: XCTestCase {
    /// An attempt's error, where there must be one.
    private func failure(
        _ call: () async throws -> Connected, file: StaticString = #filePath, line: UInt = #line
    ) async -> GateError? {
        do {
            let connected = try await call()
            XCTFail("it succeeded: \(connected)", file: file, line: line)
            return nil
        } catch let error as GateError {
            return error
        } catch {
            XCTFail("\(error)", file: file, line: line)
            return nil
        }
    }

    private func signedIn(
        _ site: Site, _ tunnel: RecordedTunnel, settings: Settings = Settings()
    ) async throws -> (Client, Connected) {
        let profile = try Profile(toml: site.profile())
        let client = try Client(profile: profile, tunnel: tunnel, settings: settings)
        let code = try site.code()
        let connected = try await client.connect { _ in try .code(code) }
        return (client, connected)
    }

    func testACodeConnectsAndASignOutEnds() async throws {
        let site = try Site()
        let tunnel = RecordedTunnel()
        let (client, connected) = try await signedIn(site, tunnel)
        XCTAssertEqual(connected.addresses, ["10.9.0.2/32"])
        XCTAssertGreaterThan(connected.endsIn, .seconds(3600))
        guard case let .connected(session, _, _, _) = try client.status else {
            return XCTFail("\(try client.status)")
        }
        XCTAssertEqual(session, connected.session)
        XCTAssertTrue(try site.admin("sessions", "--json").contains(session))
        let isUp = await tunnel.isUp
        XCTAssertTrue(isUp)

        try await client.signOut()
        XCTAssertEqual(try client.status, .idle)
        XCTAssertFalse(try site.admin("sessions", "--json").contains(session))
        let isStillUp = await tunnel.isUp
        XCTAssertFalse(isStillUp)
    }

    func testAWrongCodeIsDeniedAndAskedForAgain() async throws {
        let site = try Site()
        let profile = try Profile(toml: site.profile())
        let client = try Client(profile: profile, tunnel: RecordedTunnel())
        let right = try site.code()
        let wrong = String(right.dropLast()) + (right.hasSuffix("0") ? "1" : "0")
        let asked = Collected<AuthChallenge>()
        let error = await failure {
            try await client.connect { question in
                await asked.add(question)
                return question.denied == nil ? try .code(wrong) : nil
            }
        }
        XCTAssertEqual(error?.kind, .userCancelled)
        let questions = await asked.all
        XCTAssertEqual(questions.map(\.denied?.reason), [nil, .wrong])
        guard case .code(digits: 6) = questions[0].challenge else {
            return XCTFail("\(questions[0])")
        }
        XCTAssertEqual(questions[0].factor?.kind, "totp")
        XCTAssertEqual(try client.status, .idle)
    }

    func testARevokedSessionEndsAndSaysWhy() async throws {
        let site = try Site()
        let tunnel = RecordedTunnel()
        let (client, connected) = try await signedIn(site, tunnel)
        let events = client.events
        try site.admin("revoke", "--user", "alice")
        try client.networkChanged()
        let ended = await events.first { if case .ended = $0 { true } else { false } }
        guard case let .ended(session, reason, error) = ended else {
            return XCTFail("\(String(describing: ended))")
        }
        XCTAssertEqual(session, connected.session)
        XCTAssertEqual(reason, .revoked)
        XCTAssertEqual(error.kind, .denied)
        let isUp = await tunnel.isUp
        XCTAssertFalse(isUp)
    }

    func testAPromptThatThrowsAdmitsNoOne() async throws {
        let site = try Site()
        let tunnel = RecordedTunnel()
        let client = try Client(profile: Profile(toml: site.profile()), tunnel: tunnel)
        let error = await failure {
            try await client.connect { _ in throw AppError(secret: "hunter2") }
        }
        XCTAssertEqual(error?.kind, .fault)
        XCTAssertEqual(error?.explanation.contains("AppError"), true)
        XCTAssertFalse("\(String(reflecting: error))".contains("hunter2"))
        let calls = await tunnel.calls
        XCTAssertFalse(calls.contains("up"))
        XCTAssertFalse(try site.admin("sessions", "--json").contains("alice"))
    }

    func testATunnelThatThrowsIsDown() async throws {
        let site = try Site()
        let tunnel = RecordedTunnel(onUp: { throw AppError(secret: "hunter2") })
        let client = try Client(profile: Profile(toml: site.profile()), tunnel: tunnel)
        let code = try site.code()
        let error = await failure { try await client.connect { _ in try .code(code) } }
        XCTAssertFalse("\(String(reflecting: error))".contains("hunter2"))
        let isRemoved = try await eventually { await tunnel.calls.last == "down" }
        XCTAssertTrue(isRemoved)
        let isEnded = try await eventually {
            try !site.admin("sessions", "--json").contains("alice")
        }
        XCTAssertTrue(isEnded)
    }

    func testATunnelThatHangsIsDownInTime() async throws {
        let site = try Site()
        let tunnel = RecordedTunnel(onUp: { try await Task.sleep(for: .seconds(3600)) })
        var settings = Settings()
        settings.callbackTimeout = .seconds(2)
        let client = try Client(
            profile: Profile(toml: site.profile()), tunnel: tunnel, settings: settings)
        let code = try site.code()
        let error = await failure { try await client.connect { _ in try .code(code) } }
        XCTAssertNotNil(error)
        let isRemoved = try await eventually { await tunnel.calls.last == "down" }
        XCTAssertTrue(isRemoved)
        let isUp = await tunnel.isUp
        XCTAssertFalse(isUp)
    }

    func testAnAnswerAfterClosingAdmitsNoOne() async throws {
        let site = try Site()
        let tunnel = RecordedTunnel()
        let client = try Client(profile: Profile(toml: site.profile()), tunnel: tunnel)
        let code = try site.code()
        let (asked, isAsked) = AsyncStream.makeStream(of: Void.self)
        let (closed, isClosed) = AsyncStream.makeStream(of: Void.self)
        let connecting = Task {
            try await client.connect { _ in
                isAsked.yield()
                // Not of this task, so that its being cancelled does not end the wait.
                await Task.detached { for await _ in closed { break } }.value
                return try .code(code)
            }
        }
        _ = await asked.first { _ in true }
        try await client.close()
        let error = await failure { try await connecting.value }
        XCTAssertEqual(error?.code, "client-stopped")
        isClosed.yield()
        let again = await failure { try await client.connect { _ in try .code(code) } }
        XCTAssertEqual(again?.code, "client-stopped")
        XCTAssertEqual(try client.status, .closed)
        let calls = await tunnel.calls
        XCTAssertFalse(calls.contains("up"))
        XCTAssertFalse(try site.admin("sessions", "--json").contains("alice"))
    }

    func testCancellingATaskStopsTheLibrary() async throws {
        let site = try Site()
        let client = try Client(profile: Profile(toml: site.profile()), tunnel: RecordedTunnel())
        let (asked, isAsked) = AsyncStream.makeStream(of: Void.self)
        let (stopped, isStopped) = AsyncStream.makeStream(of: Void.self)
        let connecting = Task {
            try await client.connect { _ in
                isAsked.yield()
                defer { isStopped.yield() }
                try await Task.sleep(for: .seconds(3600))
                return nil
            }
        }
        _ = await asked.first { _ in true }
        connecting.cancel()
        do {
            let connected = try await connecting.value
            XCTFail("\(connected)")
        } catch {
            XCTAssertTrue(error is CancellationError, "\(error)")
        }
        // The question is withdrawn, and the attempt is over: another may begin.
        let isWithdrawn: Void? = await stopped.first { _ in true }
        XCTAssertNotNil(isWithdrawn)
        let isIdle = try await eventually { try client.status == .idle }
        XCTAssertTrue(isIdle)
        let code = try site.code()
        try await client.connect { _ in try .code(code) }
    }

    func testOneAttemptAtATime() async throws {
        let site = try Site()
        let client = try Client(profile: Profile(toml: site.profile()), tunnel: RecordedTunnel())
        let (asked, isAsked) = AsyncStream.makeStream(of: Void.self)
        let connecting = Task {
            try await client.connect { _ in
                isAsked.yield()
                try await Task.sleep(for: .seconds(3600))
                return nil
            }
        }
        _ = await asked.first { _ in true }
        let second = await failure { try await client.connect { _ in nil } }
        XCTAssertEqual(second?.code, "attempt-under-way")
        try client.cancel()
        let first = await failure { try await connecting.value }
        XCTAssertEqual(first?.kind, .userCancelled)
    }

    func testAClientThatIsLetGoOfSignsOut() async throws {
        let site = try Site()
        let tunnel = RecordedTunnel()
        var session = ""
        do {
            let (client, connected) = try await signedIn(site, tunnel)
            session = connected.session
            _ = client
        }
        let isEnded = try await eventually {
            try !site.admin("sessions", "--json").contains(session)
        }
        XCTAssertTrue(isEnded)
        let isDown = try await eventually { await !tunnel.isUp }
        XCTAssertTrue(isDown)
    }

    func testAReaderEndsWithItsClient() async throws {
        let site = try Site()
        let client = try Client(profile: Profile(toml: site.profile()), tunnel: RecordedTunnel())
        let events = client.events
        try await client.close()
        for await _ in events {}
        for await _ in client.events {}
    }

    func testAGateThatIsNotThereIsNotAvailable() async throws {
        let site = try Site()
        let client = try Client(profile: Profile(toml: site.profile()), tunnel: RecordedTunnel())
        site.stop()
        let error = await failure { try await client.connect { _ in nil } }
        XCTAssertEqual(error?.kind, .notAvailable)
        XCTAssertEqual(error?.isRetryable, true)
        XCTAssertEqual(error?.localizedDescription, error?.explanation)
    }

    func testTheLogSaysWhatHappensAndNoSecret() async throws {
        let lines = Collected<LogLine>()
        try setLog(upTo: .debug) { await lines.add($0) }
        defer { try? setLog(nil) }
        let site = try Site()
        let code = try site.code()
        let tunnel = RecordedTunnel()
        let client = try Client(profile: Profile(toml: site.profile()), tunnel: tunnel)
        try await client.connect { _ in try .code(code) }
        try await client.close()
        let isLogged = try await eventually { await !lines.all.isEmpty }
        XCTAssertTrue(isLogged)
        let all = await lines.all.map(\.text).joined(separator: "\n")
        for secret in try await secrets(of: site, tunnel) + [code] {
            XCTAssertFalse(all.contains(secret), all)
        }
    }

    func testNothingPrintsASecret() async throws {
        let site = try Site()
        let tunnel = RecordedTunnel()
        let (client, _) = try await signedIn(site, tunnel)
        let profile = try Profile(toml: site.profile())
        let key = try HandoverKey()
        let saved = try await client.saveSession(key: key)
        let secret = try Secret(text: "hunter2")
        let things: [Any] = [
            client, profile, key, saved, secret, try Response.code("123456"),
            Response.password(secret), Challenge.registerTOTP(uri: secret, digits: 6),
            Challenge.keepRecoveryCodes([secret]), try profile.exposeTOML(),
            EnrolRequest(kind: "totp", label: "phone", token: secret), try DeviceIdentity(),
            Authenticators(asking: { _ in .password(secret) }), try client.status,
        ]
        var printed = ""
        for thing in things {
            dump(thing, to: &printed)
            printed += "\(thing) \(String(reflecting: thing)) \(Mirror(reflecting: thing).children)\n"
        }
        let keyText = try key.exposeBytes().base64EncodedString()
        for secret in try await secrets(of: site, tunnel) + ["hunter2", "123456", keyText] {
            XCTAssertFalse(printed.contains(secret), printed)
        }
    }

    /// The device's private key, and the preshared keys of its sessions.
    private func secrets(of site: Site, _ tunnel: RecordedTunnel) async throws -> [String] {
        let profile = try site.profile()
        let line = try XCTUnwrap(profile.split(separator: "\n").first { $0.contains("private") })
        let key = try XCTUnwrap(line.split(separator: "\"").dropFirst().first)
        let presharedKeys = await tunnel.presharedKeys
        XCTAssertFalse(presharedKeys.isEmpty)
        return [String(key)] + presharedKeys
    }
}
