import Foundation

// The library's times are whole milliseconds. Nothing that Swift can express traps on the way: what
// is negative counts as zero, what is too long as the longest.

extension Duration {
    init(milliseconds: UInt64) {
        self = .milliseconds(Int64(clamping: milliseconds))
    }

    /// Rounded down.
    var wholeMilliseconds: UInt64 {
        let (seconds, attoseconds) = components
        guard seconds >= 0, attoseconds >= 0 else { return 0 }
        let whole = UInt64(seconds).multipliedReportingOverflow(by: 1000)
        let part = UInt64(attoseconds / 1_000_000_000_000_000)
        let sum = whole.partialValue.addingReportingOverflow(part)
        return whole.overflow || sum.overflow ? .max : sum.partialValue
    }
}

extension Date {
    init(milliseconds: UInt64) {
        self.init(timeIntervalSince1970: Double(milliseconds) / 1000)
    }

    /// Since 1970; what is before it counts as then.
    var wholeMilliseconds: UInt64 {
        let milliseconds = timeIntervalSince1970 * 1000
        guard milliseconds > 0 else { return 0 }
        return milliseconds < 9e18 ? UInt64(milliseconds) : 9_000_000_000_000_000_000
    }
}
