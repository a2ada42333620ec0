// The process is killed, and the next one picks its session up: `Resume profile.toml FOLDER`.

import Device
import Foundation
import MFAGate

let text = try String(contentsOfFile: CommandLine.arguments[1], encoding: .utf8)
let folder = URL(fileURLWithPath: CommandLine.arguments[2])
let profile = try Profile(toml: text)

// [snippet: resume]
let key = try handoverKey(file: folder.appendingPathComponent("key").path)
let store = FileSessionStore(file: folder.appendingPathComponent("session"))
let client: Client
if let saved = try await store.load() {
    let resumed = try await Client.resume(saved, key: key, profile: profile, tunnel: WireGuardGo())
    client = resumed.client
    say("Goes on with \(resumed.connected?.session ?? resumed.failure!.explanation)")
} else {
    client = try Client(profile: profile, tunnel: WireGuardGo())
    let connected = try await client.connect { _ in try .code(ask("Your code:")) }
    say("Connected: \(connected.session)")
}
try await store.save(client.saveSession(key: key))
// [end]

say("Saved.")
for await event in client.events {
    switch event {
    case .renewed:
        try await store.save(client.saveSession(key: key))
    case .ended:
        try await store.save(nil)
    default:
        break
    }
}
