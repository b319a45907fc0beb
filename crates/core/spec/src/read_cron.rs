//! Reads when something comes round: a line of cron and its time zone.

use hornero_calendar::{Schedule, ScheduleError};
use hornero_model::CronLine;

use crate::{ErrorCode, error::Mistake, evaluate::Evaluator, section::Section};

/// Takes the line from the key of that name and its zone from `timezone`; none where there is no line, or no good one, which
/// is reported.
pub(crate) fn line(
    cx: &mut Evaluator,
    section: &mut Section<'_>,
    key: &'static str,
) -> Option<CronLine> {
    let line = section.text(cx, key);
    let zone = section.text(cx, "timezone");
    let Some(line) = line else {
        if let Some(zone) = zone {
            let message = format!("`timezone` of {} says nothing without `{key}`", section.what);
            cx.report(Mistake::new(ErrorCode::Conflict, zone.span, message));
        }
        return None;
    };
    let timezone = zone.as_ref().map_or("UTC", |zone| &zone.value);
    let written = CronLine { line: line.value.to_string(), timezone: timezone.to_owned() };
    let error = match Schedule::new(&written.line, &written.timezone) {
        Ok(_) => return Some(written),
        Err(error) => error,
    };
    let (key, span, hint) = match (&error, zone) {
        (ScheduleError::Zone(_), Some(zone)) => {
            ("timezone", zone.span, "write a name of the IANA database, such as `Europe/Berlin`")
        }
        (ScheduleError::Zone(_) | ScheduleError::Line { .. }, _) => (
            key,
            line.span,
            "write minute, hour, day of the month, month and day of the week: `0 3 * * *` is every day at three",
        ),
        (ScheduleError::Never(_), _) => (key, line.span, "no year has a day like that"),
    };
    let message = format!("`{key}` of {}: {error}", section.what);
    cx.report(Mistake::new(ErrorCode::InvalidValue, span, message).hint(hint));
    None
}
