import Foundation
import MFAGate

/// A P-256 key in a file, for a device without a Secure Enclave: `openssl` signs with it. An app for
/// Apple's platforms has `SecureEnclaveKey` in its place.
public struct OpenSSLKey: DeviceKeySigner {
    private let file: String

    /// The key in this file, which is made where there is none.
    public init(file: String) throws {
        self.file = file
        if !FileManager.default.fileExists(atPath: file) {
            try run(
                "openssl",
                ["genpkey", "-quiet", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
                    + ["-out", file])
            try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: file)
        }
    }

    public func publicKey() async throws -> DeviceKey {
        let text = try run("openssl", ["pkey", "-in", file, "-pubout"])
        let base64 = text.split(separator: "\n").filter { !$0.hasPrefix("-----") }.joined()
        guard let key = Data(base64Encoded: base64) else { throw CallbackError.invalidated }
        return DeviceKey(publicKey: key, protection: .software)
    }

    public func sign(_ data: Data) async throws -> Data {
        let unsigned = FileManager.default.temporaryDirectory
            .appendingPathComponent(UUID().uuidString)
        try data.write(to: unsigned)
        defer { try? FileManager.default.removeItem(at: unsigned) }
        let command = "openssl dgst -sha256 -sign \"$0\" \"$1\" | openssl base64 -A"
        let text = try run("sh", ["-c", command, file, unsigned.path])
        guard let signature = Data(base64Encoded: text) else { throw CallbackError.notAvailable }
        return signature
    }
}
