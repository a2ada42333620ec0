import Foundation
import Glibc
import XCTest

@testable import MFAGate

/// What needs no gate.
final class ValueTests: XCTestCase {
    func testTimesThatRustHasNoneOfDoNotTrap() {
        XCTAssertEqual(Duration.seconds(-5).wholeMilliseconds, 0)
        XCTAssertEqual(Duration.milliseconds(1999).wholeMilliseconds, 1999)
        XCTAssertEqual(Duration.seconds(Int64.max).wholeMilliseconds, .max)
        XCTAssertEqual(Duration(milliseconds: .max), .milliseconds(Int64.max))
        XCTAssertEqual(Date(timeIntervalSince1970: -0.5).wholeMilliseconds, 0)
        XCTAssertEqual(Date(timeIntervalSince1970: .nan).wholeMilliseconds, 0)
        XCTAssertEqual(Date(timeIntervalSince1970: .infinity).wholeMilliseconds, 9_000_000_000_000_000_000)
        XCTAssertEqual(Date(milliseconds: 1500).wholeMilliseconds, 1500)
    }

    func testEventsAndErrorsGoThroughJSON() throws {
        let locked = GateError(
            kind: .lockedOut(until: Date(timeIntervalSince1970: 5)), code: "locked",
            explanation: "wait", isRetryable: true)
        let connected = Connected(session: "s", addresses: ["10.9.0.2/32"], endsIn: .seconds(5))
        let events: [Event] = [
            .failed(locked), .tunnelUp(connected), .ending(in: .seconds(9), needs: .factor),
            .ended(session: "s", reason: .revoked, locked), .lagged(missed: 3), .live,
        ]
        let text = try JSONEncoder().encode(events)
        XCTAssertEqual(try JSONDecoder().decode([Event].self, from: text), events)
        XCTAssertEqual("\(locked)", "wait (locked)")
    }

    func testWhatIsNoProfileIsAnErrorWithoutItsText() {
        XCTAssertThrowsError(try Profile(toml: "private_key = \"hunter2\"")) { error in
            XCTAssertEqual((error as? GateError)?.kind, .fault)
            XCTAssertFalse(String(reflecting: error).contains("hunter2"))
        }
    }

    func testACodeIsReadAsPeopleTypeIt() throws {
        _ = try Response.code("123 456")
        XCTAssertThrowsError(try Response.code("12")) { error in
            XCTAssertEqual((error as? GateError)?.kind, .fault)
        }
        XCTAssertThrowsError(try Response.code(""))
    }

    func testTheVersionIsSaid() throws {
        XCTAssertNotNil(try version().range(of: #"^\d+\.\d+\.\d+"#, options: .regularExpression))
    }
}

/// The transport against servers that are no gate.
final class TransportTests: XCTestCase {
    func testAResponseComesWhateverItsStatus() async throws {
        let port = try serve(
            page("no", status: "503 Service Unavailable", headers: "content-type: text/x\r\n"))
        let response = try await post(to: port)
        let expected = HTTPResponse(status: 503, contentType: "text/x", body: Data("no".utf8))
        XCTAssertEqual(response, expected)
    }

    func testARedirectIsNotFollowed() async throws {
        let elsewhere = try serve(page("elsewhere"))
        let headers = "location: http://127.0.0.1:\(elsewhere)/\r\n"
        let port = try serve(page("", status: "307 Temporary Redirect", headers: headers))
        let response = try await post(to: port)
        XCTAssertEqual(response.status, 307)
        XCTAssertEqual(response.body, Data())
    }

    func testABodyThatIsTooLongIsNotReadToItsEnd() async throws {
        let port = try serve(page(String(repeating: "x", count: 8_000_000)))
        let response = try await post(to: port)
        XCTAssertGreaterThan(response.body.count, 65_536)
        XCTAssertLessThan(response.body.count, 8_000_000)
    }

    func testNoServerIsNotAvailable() async throws {
        do {
            let response = try await post(to: freePort(SOCK_STREAM))
            XCTFail("\(response)")
        } catch {
            XCTAssertEqual(error as? CallbackError, .notAvailable)
        }
    }

    func testACancelledPostEndsAtOnce() async throws {
        // It takes the connection and never answers.
        let port = try serve("")
        let task = Task { try await post(to: port) }
        task.cancel()
        do {
            let response = try await task.value
            XCTFail("\(response)")
        } catch {
            XCTAssertTrue([.cancelled, .notAvailable].contains(error as? CallbackError), "\(error)")
        }
    }
}

private func post(to port: UInt16) async throws -> HTTPResponse {
    let url = try XCTUnwrap(URL(string: "http://127.0.0.1:\(port)/mfagate"))
    return try await URLSessionTransport().post(url, contentType: "text/plain", body: Data("x".utf8))
}
