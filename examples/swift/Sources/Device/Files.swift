import Foundation
import MFAGate

/// A line from the standard input, after a question.
public func ask(_ question: String) -> String {
    print(question, terminator: " ")
    fflush(nil)
    return readLine() ?? ""
}

/// Prints a line at once, also where the output is a pipe.
public func say(_ line: String) {
    print(line)
    fflush(nil)
}

/// The key of saved sessions, from a file that only its owner may read. An app for Apple's platforms
/// keeps it in the keychain.
public func handoverKey(file: String) throws -> HandoverKey {
    if let bytes = FileManager.default.contents(atPath: file) {
        return try HandoverKey(bytes: bytes)
    }
    let key = try HandoverKey()
    _ = FileManager.default.createFile(
        atPath: file, contents: try key.exposeBytes(), attributes: [.posixPermissions: 0o600])
    return key
}
