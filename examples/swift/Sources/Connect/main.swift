// Connects with a code and fetches an internal page: `Connect profile.toml http://10.9.0.1/`.

import Device
import Foundation
import MFAGate

#if canImport(FoundationNetworking)
    import FoundationNetworking
#endif

let text = try String(contentsOfFile: CommandLine.arguments[1], encoding: .utf8)
let url = URL(string: CommandLine.arguments[2])!
let tunnel = WireGuardGo()

// [snippet: connect]
let profile = try Profile(toml: text)
let client = try Client(profile: profile, tunnel: tunnel)
let connected = try await client.connect { question in
    guard case .code(let digits) = question.challenge else { return nil }
    return try .code(ask("Your code of \(digits) digits:"))
}
say("Connected as \(connected.addresses) for \(connected.endsIn).")
// [end]

let (page, _) = try await URLSession.shared.data(from: url)
say(String(decoding: page, as: UTF8.self))
try await client.close()
say("Signed out.")
