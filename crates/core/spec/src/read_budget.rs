//! Reads how many servers Hornero may make by itself: `budget` of a service.

use hornero_model::Budget;

use crate::{ErrorCode, error::Mistake, evaluate::Evaluator, limits, section::Section};

pub(crate) fn read(cx: &mut Evaluator, section: &mut Section<'_>) -> Option<Budget> {
    let mut part = section.part(cx, "budget")?;
    let reason = "a service whose servers are never replaced needs no budget, and one is the least";
    let day_place = part.place("per_day");
    let per_hour = part.whole(cx, "per_hour", 1, limits::BUDGET, reason);
    let per_day = part.whole(cx, "per_day", 1, limits::BUDGET, reason);
    if let (Some(per_hour), Some(per_day)) = (per_hour, per_day)
        && per_day < per_hour
    {
        let message = format!(
            "{} allows {per_hour} servers in an hour and {per_day} in a whole day",
            part.what
        );
        cx.report(
            Mistake::new(ErrorCode::Conflict, day_place, message)
                .hint("`per_day` is at least `per_hour`"),
        );
    }
    part.finish(cx);
    match (per_hour, per_day) {
        (None, None) => None,
        (Some(per_hour), None) => Some(Budget::hourly(per_hour)),
        (None, Some(per_day)) => {
            let per_hour = per_day.div_ceil(Budget::HOURS_A_DAY);
            Some(Budget { per_hour, per_day })
        }
        (Some(per_hour), Some(per_day)) => Some(Budget { per_hour, per_day }),
    }
}
