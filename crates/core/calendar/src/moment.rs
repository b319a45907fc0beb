//! A moment as people write it: day and time on the clock of a time zone.

use hornero_model::Timestamp;
use jiff::civil::DateTime;

use crate::{ScheduleError, zone};

/// Which end of a span a moment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Where it begins: of a time that a day has twice, the first.
    From,
    /// Where it ends: of a time that a day has twice, the second.
    Until,
}

/// Why a text is no moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MomentError {
    /// It is no day and time.
    #[error("`{0}` is no day and time")]
    Form(String),
    /// It is before 1970 or after 9999.
    #[error("`{0}` is too far away")]
    Range(String),
    /// Its zone is none.
    #[error(transparent)]
    Zone(#[from] ScheduleError),
}

/// The moment at which the clocks of a time zone show `text`, such as `2026-12-20T00:00`. Of a time that a day leaves out
/// it is the one that is as long after the gap's beginning (for an end) or before its end (for a beginning).
///
/// # Errors
/// See [`MomentError`].
pub fn moment(text: &str, timezone: &str, end: End) -> Result<Timestamp, MomentError> {
    let zone = zone(timezone)?;
    let shown = || text.chars().take(80).collect::<String>();
    // A time with an offset or a zone of its own would say two things at once.
    let is_plain = text.len() <= 19 && text.contains('T') && !text.contains(['Z', '+', '[']);
    let parsed = Some(text).filter(|_| is_plain).and_then(|text| text.parse::<DateTime>().ok());
    let civil = parsed.ok_or_else(|| MomentError::Form(shown()))?;
    let ambiguous = zone.to_ambiguous_timestamp(civil);
    let instant = match end {
        End::From => ambiguous.earlier(),
        End::Until => ambiguous.later(),
    };
    let ms = instant.ok().and_then(|instant| u64::try_from(instant.as_millisecond()).ok());
    ms.map(Timestamp).ok_or_else(|| MomentError::Range(shown()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, zone: &str, from: &str, until: &str) {
        let seen = [End::From, End::Until].map(|end| moment(text, zone, end).unwrap().to_string());
        assert_eq!(seen, [from, until], "{text} in {zone}");
    }

    #[test]
    fn a_moment_is_read_in_its_time_zone() {
        let utc = "2026-12-20T00:00:00.000Z";
        check("2026-12-20T00:00", "UTC", utc, utc);
        let berlin = "2026-12-19T23:00:00.000Z";
        check("2026-12-20T00:00:00", "Europe/Berlin", berlin, berlin);
    }

    #[test]
    fn a_span_is_never_shorter_than_it_reads() {
        let (first, second) = ("2026-10-25T00:30:00.000Z", "2026-10-25T01:30:00.000Z");
        check("2026-10-25T02:30", "Europe/Berlin", first, second);
        let (first, second) = ("2026-03-29T00:30:00.000Z", "2026-03-29T01:30:00.000Z");
        check("2026-03-29T02:30", "Europe/Berlin", first, second);
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in ["", "2026-12-20", "2026-13-01T00:00", "2026-12-20T00:00Z", "now", "T00:00"] {
            let error = moment(text, "UTC", End::From).unwrap_err();
            assert_eq!(error, MomentError::Form(text.to_owned()));
        }
        let old = moment("1914-08-01T00:00", "UTC", End::From).unwrap_err();
        assert_eq!(old.to_string(), "`1914-08-01T00:00` is too far away");
        assert!(matches!(moment("2026-12-20T00:00", "X/Y", End::From), Err(MomentError::Zone(_))));
    }
}
