//! A schedule: a cron line in a time zone.

use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use hornero_model::Timestamp;
use jiff::{Zoned, tz::TimeZone};

/// Characters of a cron line: the longest that lists every minute fits in a tenth of it.
const LINE_CHARACTERS: usize = 1_000;
/// How far ahead a line must come round: a 29th of February may be eight years away.
const LOOK_AHEAD_DAYS: i64 = 8 * 366;

/// When something comes round.
#[derive(Debug, Clone)]
pub struct Schedule {
    cron: Cron,
    zone: TimeZone,
}

/// Why a text is no schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// The line is none of cron's.
    #[error("`{line}` is no cron line: {why}")]
    Line {
        /// The line.
        line: String,
        /// What is wrong with it.
        why: String,
    },
    /// No day is one of the line's.
    #[error("`{0}` never comes round")]
    Never(String),
    /// There is no such time zone.
    #[error("there is no time zone `{0}`")]
    Zone(String),
}

/// A time zone by its name in the IANA database, such as `Europe/Berlin`; `UTC` is one too.
///
/// # Errors
/// Where there is none of that name.
pub fn zone(name: &str) -> Result<TimeZone, ScheduleError> {
    // What else is taken for a zone, such as an offset or the host's own one, would not be the same everywhere and always.
    let is_name = |name: &str| {
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_+-".contains(&byte))
    };
    let found = Some(name).filter(|name| is_name(name)).and_then(|name| TimeZone::get(name).ok());
    found.ok_or_else(|| ScheduleError::Zone(name.to_owned()))
}

impl Schedule {
    /// Reads a cron line of five fields (minute, hour, day of the month, month, day of the week), in the time zone of
    /// that name.
    ///
    /// # Errors
    /// Where the line or the zone can't be read, and where the line never comes round, as the 30th of February.
    pub fn new(line: &str, timezone: &str) -> Result<Self, ScheduleError> {
        let zone = zone(timezone)?;
        let error = |why: String| ScheduleError::Line { line: shown(line), why };
        if line.chars().count() > LINE_CHARACTERS {
            return Err(error(format!("it has more than {LINE_CHARACTERS} characters")));
        }
        let fields = line.split_whitespace().count();
        if fields != 5 {
            return Err(error(format!(
                "it has {fields} fields, not five: minute, hour, day of the month, month, day of the week"
            )));
        }
        let parser =
            CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(line).map_err(|refused| {
            let why = refused.to_string();
            let why = why.trim_end_matches('.');
            let mut letters = why.chars();
            let first = letters.next().map(|letter| letter.to_ascii_lowercase());
            error(first.into_iter().chain(letters).collect())
        })?;
        let schedule = Self { cron, zone };
        // Any moment does: it is the same line for ever.
        let never = || ScheduleError::Never(shown(line));
        let from = Timestamp(1_700_000_000_000);
        let first = schedule.after(from).ok_or_else(never)?;
        let ahead = first.since(from).0 / 86_400_000;
        if i64::try_from(ahead).unwrap_or(i64::MAX) > LOOK_AHEAD_DAYS {
            return Err(never());
        }
        Ok(schedule)
    }

    /// When it next comes round after `moment`, and not at it.
    pub fn after(&self, moment: Timestamp) -> Option<Timestamp> {
        let found = self.cron.find_next_occurrence(&self.zoned(moment)?, false).ok()?;
        stamp(&found)
    }

    /// When it last came round, at `moment` or before it.
    pub fn last(&self, moment: Timestamp) -> Option<Timestamp> {
        let found = self.cron.find_previous_occurrence(&self.zoned(moment)?, true).ok()?;
        stamp(&found)
    }

    fn zoned(&self, moment: Timestamp) -> Option<Zoned> {
        let instant = jiff::Timestamp::from_millisecond(i64::try_from(moment.0).ok()?).ok()?;
        Some(instant.to_zoned(self.zone.clone()))
    }
}

fn stamp(zoned: &Zoned) -> Option<Timestamp> {
    u64::try_from(zoned.timestamp().as_millisecond()).ok().map(Timestamp)
}

fn shown(line: &str) -> String {
    line.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{End, moment};

    fn at(text: &str, zone: &str) -> Timestamp {
        moment(text, zone, End::From).unwrap()
    }

    /// What a line comes to after `from`, as local times with their offset.
    #[track_caller]
    fn check(line: &str, zone: &str, from: &str, expected: &[&str]) {
        let schedule = Schedule::new(line, zone).unwrap();
        let mut last = at(from, zone);
        for expected in expected {
            let next = schedule.after(last).unwrap();
            let text = schedule.zoned(next).unwrap().strftime("%Y-%m-%dT%H:%M%:z").to_string();
            assert_eq!(text, *expected, "`{line}` in {zone}");
            assert_eq!(schedule.last(next), Some(next), "`{line}` comes round at {text}");
            last = next;
        }
    }

    #[test]
    fn lines_come_round_in_their_time_zone() {
        check("30 2 * * 1-5", "Europe/Berlin", "2026-12-04T02:30", &["2026-12-07T02:30+01:00"]);
        check("0 3 * * *", "UTC", "2026-12-31T23:59", &["2027-01-01T03:00+00:00"]);
        check("0 0 29 2 *", "UTC", "2026-01-01T00:00", &["2028-02-29T00:00+00:00"]);
        check("0 12 * * SUN", "Asia/Kathmandu", "2026-11-29T12:00", &["2026-12-06T12:00+05:45"]);
        check("0 0 1 JAN *", "UTC", "2026-06-01T00:00", &["2027-01-01T00:00+00:00"]);
    }

    #[test]
    fn a_fixed_time_that_a_day_leaves_out_is_run_after_the_gap() {
        let days = ["2026-03-28T02:30+01:00", "2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"];
        check("30 2 * * *", "Europe/Berlin", "2026-03-27T12:00", &days);
        let days = ["2026-03-08T03:00-04:00", "2026-03-09T02:15-04:00"];
        check("15 2 * * *", "America/New_York", "2026-03-07T12:00", &days);
    }

    #[test]
    fn a_fixed_time_that_a_day_has_twice_is_run_the_first_time() {
        let days = ["2026-10-24T02:30+02:00", "2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"];
        check("30 2 * * *", "Europe/Berlin", "2026-10-23T12:00", &days);
    }

    #[test]
    fn steps_go_by_the_clock_on_the_wall() {
        let gap = ["2026-03-29T01:30+01:00", "2026-03-29T03:00+02:00", "2026-03-29T03:30+02:00"];
        check("*/30 * * * *", "Europe/Berlin", "2026-03-29T01:00", &gap);
        let twice = [
            "2026-10-25T02:00+02:00",
            "2026-10-25T02:30+02:00",
            "2026-10-25T02:00+01:00",
            "2026-10-25T02:30+01:00",
            "2026-10-25T03:00+01:00",
        ];
        check("*/30 * * * *", "Europe/Berlin", "2026-10-25T01:30", &twice);
    }

    #[test]
    fn what_is_no_schedule_says_why() {
        let error = |line: &str, zone: &str| Schedule::new(line, zone).unwrap_err().to_string();
        for (line, part) in [
            ("", "0 fields, not five"),
            ("* * * *", "4 fields, not five"),
            ("0 0 0 * * *", "6 fields, not five"),
            ("60 0 * * *", "`60 0 * * *` is no cron line: "),
            ("a b c d e", "`a b c d e` is no cron line: "),
            ("0 0 30 2 *", "`0 0 30 2 *` never comes round"),
        ] {
            let text = error(line, "UTC");
            assert!(text.contains(part), "{line}: {text}");
            assert!(!text.ends_with('.'), "{line}: {text}");
        }
        for zone in ["Europe/Berlim", "", "+02:00", "../UTC", "local"] {
            assert_eq!(error("0 0 * * *", zone), format!("there is no time zone `{zone}`"));
        }
        let long = "0,".repeat(1_000) + "0 0 * * *";
        assert!(error(&long, "UTC").contains("more than 1000 characters"));
    }
}
