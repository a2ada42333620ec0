import Foundation
import Glibc
import XCTest

/// A real gate on loopback: `gate-server` in a folder of its own, with a user, a device and an
/// authenticator.
final class Site {
    let folder: URL
    private let program: URL
    private var gate: Process?
    private(set) var authenticator: Authenticator?

    /// A gate that asks for these factors. By default it asks for a one-time code, and alice has an
    /// authenticator.
    init(steps: String? = nil, page: UInt16? = nil) throws {
        let environment = ProcessInfo.processInfo.environment
        program = URL(
            fileURLWithPath: try XCTUnwrap(
                environment["MFAGATE_GATE_SERVER"],
                "the tests need a gate: run `cargo xtask test --only swift`, which sets MFAGATE_GATE_SERVER"))
        folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        try admin("init")
        let (control, wireguard) = (try freePort(SOCK_STREAM), try freePort(SOCK_DGRAM))
        try configure { text in
            var text = text.replacingOccurrences(of: "127.0.0.1:8080", with: "127.0.0.1:\(control)")
            text = text.replacingOccurrences(of: "127.0.0.1:51820", with: "127.0.0.1:\(wireguard)")
            if let steps {
                text = text.replacingOccurrences(of: "[{ any_of = [\"totp\"] }]", with: steps)
            }
            if let page {
                text += "[[forwards]]\nat = \"10.9.0.1:80\"\nto = \"127.0.0.1:\(page)\"\n"
            }
            return text
        }
        try admin("user", "add", "alice")
        try admin("peer", "add", "--user", "alice", "--label", "laptop", "--address", "10.9.0.2/32")
        if steps == nil {
            authenticator = try enrolAuthenticator()
        }
        try run()
    }

    deinit {
        stop()
        try? FileManager.default.removeItem(at: folder)
    }

    /// The device's profile, as the administrator hands it out.
    func profile() throws -> String {
        try String(contentsOf: folder.appendingPathComponent("profile.toml"), encoding: .utf8)
    }

    /// The code that the authenticator shows, or will show next: each is given once.
    func code() throws -> String {
        try XCTUnwrap(authenticator).code()
    }

    /// Runs a sub-command that must succeed; gives what it printed.
    @discardableResult
    func admin(_ arguments: String...) throws -> String {
        let (status, printed) = try finished(program, arguments, in: folder)
        XCTAssertEqual(status, 0, "gate-server \(arguments): \(printed)")
        return printed
    }

    func configure(_ edit: (String) -> String) throws {
        let file = folder.appendingPathComponent("gate.toml")
        let text = try String(contentsOf: file, encoding: .utf8)
        try edit(text).write(to: file, atomically: true, encoding: .utf8)
    }

    func run() throws {
        let process = Process()
        process.executableURL = program
        process.arguments = ["run"]
        process.currentDirectoryURL = folder
        let output = Pipe()
        process.standardOutput = output
        process.standardInput = FileHandle.nullDevice
        let log = folder.appendingPathComponent("gate.log")
        _ = FileManager.default.createFile(atPath: log.path, contents: nil)
        process.standardError = try FileHandle(forWritingTo: log)
        try process.run()
        gate = process
        _ = try XCTUnwrap(lines(of: output).first { $0.contains("is up") }, "the gate did not come up")
    }

    func stop() {
        guard let gate, gate.isRunning else { return }
        kill(gate.processIdentifier, SIGKILL)
        gate.waitUntilExit()
    }

    private func enrolAuthenticator() throws -> Authenticator {
        let process = Process()
        process.executableURL = program
        process.arguments = ["factor", "add-totp", "--user", "alice", "--json"]
        process.currentDirectoryURL = folder
        let (input, output) = (Pipe(), Pipe())
        process.standardInput = input
        process.standardOutput = output
        try process.run()
        let printed = lines(of: output)
        let confirm = try XCTUnwrap(printed.first { $0.contains("otpauth") })
        let uri = try XCTUnwrap(confirm.range(of: "secret=[A-Z2-7]+", options: .regularExpression))
        let authenticator = Authenticator(key: String(confirm[uri].dropFirst("secret=".count)))
        try input.fileHandleForWriting.write(contentsOf: Data("\(authenticator.code())\n".utf8))
        process.waitUntilExit()
        XCTAssertEqual(process.terminationStatus, 0)
        return authenticator
    }
}

/// An authenticator app: Debian's `oathtool`.
final class Authenticator {
    private static let step: Int = 30
    private let key: String
    private var last = 0

    init(key: String) {
        self.key = key
    }

    /// A code that was not given before and that a gate takes now: of the step before, this one or the
    /// next. Where all three were given it waits for another step.
    func code() throws -> String {
        while true {
            let now = Int(Date().timeIntervalSince1970)
            let current = now / Self.step
            // Late in a step, the code of the one before may be too old by the time it is read.
            let isLate = now % Self.step > 20
            let next = max(last + 1, isLate ? current : current - 1)
            if next <= current + 1 {
                last = next
                let arguments = ["--totp", "--base32", key, "--now", "@\(next * Self.step)"]
                let tool = URL(fileURLWithPath: "/usr/bin/oathtool")
                let (status, printed) = try finished(tool, arguments)
                XCTAssertEqual(status, 0, printed)
                return printed.trimmingCharacters(in: .whitespacesAndNewlines)
            }
            sleep(1)
        }
    }
}

/// Runs a program to its end: its exit status, and what it printed.
func finished(
    _ program: URL, _ arguments: [String], in folder: URL? = nil
) throws -> (Int32, String) {
    let process = Process()
    process.executableURL = program
    process.arguments = arguments
    process.currentDirectoryURL = folder
    let output = Pipe()
    process.standardOutput = output
    process.standardError = output
    process.standardInput = FileHandle.nullDevice
    try process.run()
    let printed = output.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return (process.terminationStatus, String(decoding: printed, as: UTF8.self))
}

/// What a program prints, line by line, up to its end.
func lines(of output: Pipe) -> AnyIterator<String> {
    let handle = output.fileHandleForReading
    var rest = Data()
    return AnyIterator {
        while true {
            if let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
                let line = String(decoding: rest[rest.startIndex..<end], as: UTF8.self)
                rest = Data(rest[rest.index(after: end)...])
                return line
            }
            let more = handle.availableData
            if more.isEmpty { return nil }
            rest.append(more)
        }
    }
}

/// A port of the loopback that no one uses now.
func freePort(_ kind: __socket_type) throws -> UInt16 {
    let (descriptor, address) = try bound(kind)
    close(descriptor)
    return UInt16(bigEndian: address.sin_port)
}

private func bound(_ kind: __socket_type) throws -> (Int32, sockaddr_in) {
    let descriptor = socket(AF_INET, Int32(kind.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = inet_addr("127.0.0.1")
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let isBound = withUnsafeMutablePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            bind(descriptor, $0, length) == 0 && getsockname(descriptor, $0, &length) == 0
        }
    }
    _ = try XCTUnwrap(isBound ? true : nil, "no port is free: \(String(cString: strerror(errno)))")
    return (descriptor, address)
}

/// Serves one response to every client, for as long as the process runs. Gives the port.
func serve(_ response: String) throws -> UInt16 {
    let (descriptor, address) = try bound(SOCK_STREAM)
    listen(descriptor, 16)
    Thread.detachNewThread {
        while true {
            let client = accept(descriptor, nil, nil)
            guard client >= 0 else { return }
            var request = [UInt8](repeating: 0, count: 65_536)
            _ = read(client, &request, request.count)
            let bytes = Array(response.utf8)
            _ = send(client, bytes, bytes.count, Int32(MSG_NOSIGNAL))
            shutdown(client, Int32(SHUT_WR))
            // Until the client has read it and closes: closing first could lose what it has not read.
            while read(client, &request, request.count) > 0 {}
            close(client)
        }
    }
    return UInt16(bigEndian: address.sin_port)
}

/// An HTTP response with a text.
func page(_ text: String, status: String = "200 OK", headers: String = "") -> String {
    "HTTP/1.1 \(status)\r\nconnection: close\r\n\(headers)content-length: \(text.utf8.count)\r\n\r\n\(text)"
}
