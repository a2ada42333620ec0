use std::time::Duration;

use proptest::prelude::*;

use super::fixtures::{Parts, parts, window};
use crate::policy::{
    Hours, InvalidWindow, Policy, TimeOfDay, UtcOffset, Weekday, Window, WindowFault,
};
use crate::time::Timestamp;

const DAY: u64 = 24 * 60;
const WEEK: u64 = 7 * DAY;

/// 2026-11-23, a Monday, 00:00 UTC, in minutes.
const MONDAY: u64 = 29_923_200;

fn policy(windows: Vec<Window>) -> Policy {
    Policy {
        windows,
        ..Policy::default()
    }
}

fn at(minute: u64) -> Timestamp {
    Timestamp::from_millis(minute * 60_000)
}

fn open(days: &[Weekday], from: &str, to: &str, offset: &str) -> Window {
    Window::new(
        days.iter().copied(),
        from.parse().unwrap(),
        to.parse().unwrap(),
        offset.parse().unwrap(),
    )
    .unwrap()
}

fn until(minute: u64) -> Hours {
    Hours::Open {
        until: Some(at(minute)),
    }
}

#[test]
fn office_hours_are_local() {
    let week = &Weekday::ALL[..5];
    let policy = policy(vec![open(week, "08:00", "18:00", "+01:00")]);
    let hours = |minute| policy.hours(at(MONDAY + minute));
    assert_eq!(hours(7 * 60 - 1), Hours::Closed);
    assert_eq!(hours(7 * 60), until(MONDAY + 17 * 60));
    assert_eq!(hours(17 * 60 - 1), until(MONDAY + 17 * 60));
    assert_eq!(hours(17 * 60), Hours::Closed);
    assert_eq!(hours(5 * DAY + 12 * 60), Hours::Closed, "on Saturday");
    let just_before = at(MONDAY + 17 * 60) - Duration::from_millis(1);
    assert_eq!(policy.hours(just_before), until(MONDAY + 17 * 60));
}

#[test]
fn a_night_ends_on_the_day_after_and_over_the_end_of_the_week() {
    let policy = policy(vec![open(&[Weekday::Sun], "22:00", "06:00", "+00:00")]);
    assert_eq!(policy.hours(at(MONDAY)), until(MONDAY + 6 * 60));
    assert_eq!(policy.hours(at(MONDAY + 6 * 60)), Hours::Closed);
    let sunday = MONDAY + 6 * DAY;
    assert_eq!(
        policy.hours(at(sunday + 22 * 60)),
        until(MONDAY + WEEK + 6 * 60)
    );
}

#[test]
fn windows_that_adjoin_or_overlap_are_one() {
    let policy = policy(vec![
        open(&[Weekday::Mon], "20:00", "24:00", "+00:00"),
        open(&[Weekday::Tue], "00:00", "02:00", "+00:00"),
        open(&[Weekday::Tue], "02:30", "04:00", "+01:00"),
    ]);
    assert_eq!(
        policy.hours(at(MONDAY + 21 * 60)),
        until(MONDAY + DAY + 3 * 60)
    );
}

#[test]
fn what_is_always_open_has_no_end() {
    let always = Hours::Open { until: None };
    assert_eq!(policy(Vec::new()).hours(at(MONDAY)), always);
    let days = open(&Weekday::ALL, "00:00", "24:00", "-03:30");
    assert_eq!(policy(vec![days]).hours(at(MONDAY)), always);
    let (day, night) = (
        open(&Weekday::ALL, "06:00", "18:00", "+02:00"),
        open(&Weekday::ALL, "18:00", "06:00", "+02:00"),
    );
    assert_eq!(policy(vec![day.clone(), night]).hours(at(0)), always);
    assert_ne!(policy(vec![day]).hours(at(0)), always);
}

#[test]
fn a_window_that_would_never_open_is_none() {
    let time = |text: &str| text.parse::<TimeOfDay>().unwrap();
    let new = |days: &[Weekday], from, to| {
        Window::new(days.iter().copied(), time(from), time(to), UtcOffset::UTC)
    };
    let monday = &[Weekday::Mon];
    assert_eq!(
        new(&[], "08:00", "09:00"),
        Err(InvalidWindow(WindowFault::NoDay))
    );
    assert_eq!(
        new(monday, "08:00", "08:00"),
        Err(InvalidWindow(WindowFault::Empty))
    );
    assert_eq!(
        new(monday, "24:00", "08:00"),
        Err(InvalidWindow(WindowFault::From))
    );
}

#[test]
fn times_and_offsets_are_exact() {
    for bad in [
        "",
        "8:00",
        "08:60",
        "24:01",
        "08:00 ",
        "+8:00",
        "08:0x",
        "０８:00",
    ] {
        assert!(bad.parse::<TimeOfDay>().is_err(), "{bad}");
    }
    for bad in [
        "", "Z", "01:00", "+14:01", "-12:01", "+1:00", "--01:00", "+01:60",
    ] {
        assert!(bad.parse::<UtcOffset>().is_err(), "{bad}");
    }
    for text in ["-12:00", "-00:30", "+00:00", "+05:45", "+14:00"] {
        assert_eq!(text.parse::<UtcOffset>().unwrap().to_string(), text);
    }
}

/// Whether a window is open in a minute, by its definition.
fn is_open((days, from, to, offset): &Parts, minute: u64) -> bool {
    let local = i64::try_from(minute).unwrap() + i64::from(*offset);
    let day = (local.div_euclid(1440) + 3).rem_euclid(7);
    let of_day = local.rem_euclid(1440);
    let (from, to) = (i64::from(*from), i64::from(*to));
    let opens_on = |day: i64| {
        let day = Weekday::ALL[usize::try_from(day).unwrap()];
        days.contains(&day)
    };
    if from < to {
        opens_on(day) && (from..to).contains(&of_day)
    } else {
        (opens_on(day) && of_day >= from) || (opens_on((day + 6) % 7) && of_day < to)
    }
}

proptest! {
    #[test]
    fn hours_are_what_a_scan_of_every_minute_finds(
        all in prop::collection::vec(parts(), 1..=3),
        minute in MONDAY..MONDAY + 2 * WEEK,
        millis in 0..60_000_u64,
    ) {
        let (parts, windows): (Vec<_>, Vec<_>) = all
            .into_iter()
            .filter_map(|parts| Some((parts.clone(), window(parts)?)))
            .unzip();
        prop_assume!(!windows.is_empty());
        let is_open = |minute| parts.iter().any(|parts| is_open(parts, minute));
        let end = (minute..=minute + WEEK).find(|minute| !is_open(*minute));
        let expected = match end {
            Some(end) if end == minute => Hours::Closed,
            Some(end) => until(end),
            None => Hours::Open { until: None },
        };
        let now = at(minute) + Duration::from_millis(millis);
        prop_assert_eq!(policy(windows).hours(now), expected);
    }
}
