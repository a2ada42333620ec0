//! When a location is open: days of the week, from a time to a time, at a fixed offset from UTC.
//!
//! There is no daylight-saving rule. Rules change by decree, sometimes within weeks; a gate whose
//! table of them is out of date would open and close at the wrong hour without a sign of it. So a
//! window says its offset. Where the clocks change, either give each side of the change its offset
//! and load the new policy then, or make the window an hour wider and have both.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::Policy;
use crate::time::Timestamp;

const MINUTE: u64 = 60 * 1000;
const DAY: u64 = 24 * 60 * MINUTE;
const WEEK: u64 = 7 * DAY;

/// A stretch of time that comes again each week. It is never empty and never longer than a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Form", into = "Form")]
pub struct Window {
    days: BTreeSet<Weekday>,
    from: TimeOfDay,
    to: TimeOfDay,
    offset: UtcOffset,
}

impl Window {
    /// A window that opens at `from` on each of these days and closes at the next `to`: where `to`
    /// is earlier than `from`, that is on the day after. All day is from `00:00` to `24:00`.
    ///
    /// # Errors
    /// [`InvalidWindow`] when it would never be open.
    pub fn new(
        days: impl IntoIterator<Item = Weekday>,
        from: TimeOfDay,
        to: TimeOfDay,
        offset: UtcOffset,
    ) -> Result<Self, InvalidWindow> {
        let days: BTreeSet<_> = days.into_iter().collect();
        if days.is_empty() {
            return Err(InvalidWindow(WindowFault::NoDay));
        }
        if from == to {
            return Err(InvalidWindow(WindowFault::Empty));
        }
        if from.minutes == TimeOfDay::MOST {
            return Err(InvalidWindow(WindowFault::From));
        }
        Ok(Self {
            days,
            from,
            to,
            offset,
        })
    }

    /// How long after `at`, a time in a week that begins on Monday, it is still open: the longest
    /// rest of those of its days. `None` when it is closed.
    fn rest(&self, at: u64) -> Option<u64> {
        let length = (self.to.millis() + DAY - self.from.millis()) % DAY;
        let length = if length == 0 { DAY } else { length };
        let opens = |day: &Weekday| {
            let local = day.since_monday() * DAY + self.from.millis();
            (local + WEEK).saturating_add_signed(-self.offset.millis()) % WEEK
        };
        self.days
            .iter()
            .filter_map(|day| length.checked_sub((at + WEEK - opens(day)) % WEEK))
            .filter(|rest| *rest > 0)
            .max()
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, day) in self.days.iter().enumerate() {
            write!(f, "{}{day}", if place == 0 { "" } else { ", " })?;
        }
        write!(f, " {}–{} (UTC{})", self.from, self.to, self.offset)
    }
}

crate::error_code::opaque! {
    /// Why a window is refused.
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub struct InvalidWindow(WindowFault);
}

/// What is behind [`InvalidWindow`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WindowFault {
    /// It has no day.
    #[error("the window has no day, so it never opens: list at least one, or leave `days` out")]
    NoDay,
    /// It closes when it opens.
    #[error(
        "the window closes when it opens: for the whole day, write from \"00:00\" to \"24:00\""
    )]
    Empty,
    /// It opens at 24:00, which belongs to the day before.
    #[error("a window can't open at 24:00: write \"00:00\" on the day after")]
    From,
}

/// Whether a location is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hours {
    /// No one may be admitted now.
    Closed,
    /// It is open.
    Open {
        /// Until when without a break; `None` when it never closes.
        until: Option<Timestamp>,
    },
}

impl Policy {
    /// Whether the location is open at `now`, and until when: windows that overlap or adjoin are
    /// one. A policy without windows is always open.
    pub fn hours(&self, now: Timestamp) -> Hours {
        if self.windows.is_empty() {
            return Hours::Open { until: None };
        }
        // 1970-01-01 was a Thursday.
        let at = (now.as_millis() % WEEK + Weekday::Thu.since_monday() * DAY) % WEEK;
        let rest_after = |passed| {
            let rests = self
                .windows
                .iter()
                .filter_map(|window| window.rest((at + passed) % WEEK));
            rests.max()
        };
        let mut open_for = 0;
        while let Some(rest) = rest_after(open_for) {
            open_for += rest;
            if open_for >= WEEK {
                return Hours::Open { until: None };
            }
        }
        match open_for {
            0 => Hours::Closed,
            open_for => Hours::Open {
                until: Some(now + Duration::from_millis(open_for)),
            },
        }
    }
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "their names say it")]
pub enum Weekday {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl Weekday {
    /// Monday to Sunday.
    pub const ALL: [Self; 7] = [
        Self::Mon,
        Self::Tue,
        Self::Wed,
        Self::Thu,
        Self::Fri,
        Self::Sat,
        Self::Sun,
    ];

    const fn since_monday(self) -> u64 {
        match self {
            Self::Mon => 0,
            Self::Tue => 1,
            Self::Wed => 2,
            Self::Thu => 3,
            Self::Fri => 4,
            Self::Sat => 5,
            Self::Sun => 6,
        }
    }
}

impl fmt::Display for Weekday {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mon => "Mon",
            Self::Tue => "Tue",
            Self::Wed => "Wed",
            Self::Thu => "Thu",
            Self::Fri => "Fri",
            Self::Sat => "Sat",
            Self::Sun => "Sun",
        })
    }
}

/// A time of day to the minute, `00:00` to `24:00`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeOfDay {
    minutes: u16,
}

impl TimeOfDay {
    const MOST: u16 = 24 * 60;

    /// A time from the minutes since midnight, at most 1440; `None` above.
    pub const fn from_minutes(minutes: u16) -> Option<Self> {
        if minutes <= Self::MOST {
            Some(Self { minutes })
        } else {
            None
        }
    }

    fn millis(self) -> u64 {
        u64::from(self.minutes) * MINUTE
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.minutes / 60, self.minutes % 60)
    }
}

impl FromStr for TimeOfDay {
    type Err = ParseTimeError;

    fn from_str(text: &str) -> Result<Self, ParseTimeError> {
        hours_and_minutes(text)
            .and_then(Self::from_minutes)
            .ok_or(ParseTimeError(TimeFault::Time))
    }
}

/// How far a clock is ahead of UTC, in whole minutes: `-12:00` to `+14:00`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UtcOffset {
    minutes: i16,
}

impl UtcOffset {
    /// UTC itself.
    pub const UTC: Self = Self { minutes: 0 };

    /// An offset from its minutes, -720 to 840; `None` outside.
    pub const fn from_minutes(minutes: i16) -> Option<Self> {
        if -12 * 60 <= minutes && minutes <= 14 * 60 {
            Some(Self { minutes })
        } else {
            None
        }
    }

    fn millis(self) -> i64 {
        i64::from(self.minutes) * 60 * 1000
    }
}

impl fmt::Display for UtcOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.minutes < 0 { '-' } else { '+' };
        let minutes = self.minutes.unsigned_abs();
        write!(f, "{sign}{:02}:{:02}", minutes / 60, minutes % 60)
    }
}

impl FromStr for UtcOffset {
    type Err = ParseTimeError;

    fn from_str(text: &str) -> Result<Self, ParseTimeError> {
        let (sign, rest) = match (text.strip_prefix('+'), text.strip_prefix('-')) {
            (Some(rest), _) => (1, rest),
            (_, Some(rest)) => (-1, rest),
            _ => return Err(ParseTimeError(TimeFault::Offset)),
        };
        hours_and_minutes(rest)
            .and_then(|minutes| Self::from_minutes(sign * i16::try_from(minutes).ok()?))
            .ok_or(ParseTimeError(TimeFault::Offset))
    }
}

/// `HH:MM`, two digits each and less than 60 minutes.
fn hours_and_minutes(text: &str) -> Option<u16> {
    let digits = |text: &str| {
        let fits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        fits.then(|| text.parse::<u16>().ok()).flatten()
    };
    let (hours, minutes) = text.split_once(':')?;
    let minutes = digits(minutes).filter(|minutes| *minutes < 60)?;
    Some(digits(hours)? * 60 + minutes)
}

crate::error_code::opaque! {
    /// Why a text is no time of day, or no offset.
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub struct ParseTimeError(TimeFault);
}

/// What is behind [`ParseTimeError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TimeFault {
    /// It is no time of day.
    #[error("expected a time of day from \"00:00\" to \"24:00\", such as \"08:30\"")]
    Time,
    /// It is no offset.
    #[error("expected an offset from UTC, \"-12:00\" to \"+14:00\", such as \"+01:00\"")]
    Offset,
}

macro_rules! as_text {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    };
}

as_text!(TimeOfDay);
as_text!(UtcOffset);

/// A window as it stands in a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    #[serde(default = "every_day")]
    days: BTreeSet<Weekday>,
    from: TimeOfDay,
    to: TimeOfDay,
    offset: UtcOffset,
}

fn every_day() -> BTreeSet<Weekday> {
    Weekday::ALL.into()
}

impl TryFrom<Form> for Window {
    type Error = InvalidWindow;

    fn try_from(form: Form) -> Result<Self, InvalidWindow> {
        Self::new(form.days, form.from, form.to, form.offset)
    }
}

impl From<Window> for Form {
    fn from(window: Window) -> Self {
        Self {
            days: window.days,
            from: window.from,
            to: window.to,
            offset: window.offset,
        }
    }
}
