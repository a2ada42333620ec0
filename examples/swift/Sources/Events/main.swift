// Watches a session: is warned before its end, re-authenticates, and learns that it was revoked:
// `Events profile.toml`.

import Device
import Foundation
import MFAGate

let text = try String(contentsOfFile: CommandLine.arguments[1], encoding: .utf8)
var settings = Settings()
settings.warnBefore = .seconds(30 * 24 * 3600)  // at once, for this story
let client = try Client(
    profile: Profile(toml: text), tunnel: WireGuardGo(), settings: settings)

let authenticators = Authenticators { question in
    guard case .code = question.challenge else { return nil }
    return try .code(ask("Your code:"))
}

// [snippet: events]
let events = client.events
try await client.connect(authenticators)
for await event in events {
    switch event {
    case .ending(let time, needs: .factor):
        say("Ends in \(time): sign in again.")
        try await client.reauthenticate(authenticators)
    case .renewed(let connected):
        say("Goes on for \(connected.endsIn).")
    case .ended(_, let reason, let error):
        say("Ended, \(reason): \(error.explanation)")
        try await client.close()  // ends the events, and so this loop
    default:
        break
    }
}
// [end]
