// A device key signs, and the app owns the tunnel: `DeviceKey profile.toml device.pem [TOKEN]`. With an
// enrolment token, the key is enrolled first.

import Device
import Foundation
import MFAGate

let text = try String(contentsOfFile: CommandLine.arguments[1], encoding: .utf8)
let client = try Client(profile: Profile(toml: text), tunnel: WireGuardGo())

// [snippet: device_key]
#if canImport(CryptoKit)
    let key = try SecureEnclaveKey.make(reason: "Sign in to the office")
#else
    let key = try OpenSSLKey(file: CommandLine.arguments[2])
#endif
let authenticators = Authenticators(deviceKey: key)
if CommandLine.arguments.count > 3 {
    let token = try Secret(text: CommandLine.arguments[3])
    let request = EnrolRequest(kind: "device-key", label: "laptop", token: token)
    try await client.enrol(request, authenticators)
}
let connected = try await client.connect(authenticators)
// [end]

say("Connected as \(connected.addresses).")
try await client.close()
say("Signed out.")
