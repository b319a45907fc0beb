//! What was made and removed of each service, as it is told.

use std::collections::BTreeMap;

use hornero_api::message::{ChurnCause, ChurnHour, ChurnReport, ChurnUse, ServiceChurn};
use hornero_driver::{Churn, ServiceAccount, Use};
use hornero_model::{ServiceName, Timestamp};

/// Reasons that are told of one service; the rest are added up.
const CAUSES: usize = 20;

/// The report of accounts from `since` to `until`, beside what is counted against the limits.
pub fn churn_report(
    services: &BTreeMap<ServiceName, ServiceAccount>,
    churn: &Churn,
    since: Timestamp,
    until: Timestamp,
) -> ChurnReport {
    let uses =
        |of: Option<&ServiceName>| churn.uses(of, until).into_iter().map(told).collect::<Vec<_>>();
    ChurnReport {
        since,
        until,
        services: services
            .iter()
            .map(|(name, account)| of_service(name.clone(), account, uses(Some(name))))
            .collect(),
        home: uses(None),
    }
}

fn told(one: Use) -> ChurnUse {
    let Use { window, scope, made, limit } = one;
    ChurnUse { scope, window, made, limit }
}

#[allow(clippy::cast_precision_loss)] // Nobody pays for the last byte of a second.
fn of_service(name: ServiceName, account: &ServiceAccount, budget: Vec<ChurnUse>) -> ServiceChurn {
    const GIB_HOUR: f64 = (1_u64 << 30) as f64 * 3_600.0;
    let cause = |((who, why), made): (&(String, String), &u32)| ChurnCause {
        who: who.clone(),
        why: why.clone(),
        made: *made,
    };
    let mut causes: Vec<ChurnCause> = account.causes.iter().map(cause).collect();
    causes.sort_by_key(|cause| std::cmp::Reverse(cause.made));
    let rest: u32 = causes.iter().skip(CAUSES).map(|cause| cause.made).sum();
    causes.truncate(CAUSES);
    if rest > 0 {
        causes.push(ChurnCause { who: String::new(), why: String::new(), made: rest });
    }
    let hour = |(from, (made, removed)): (&Timestamp, &(u32, u32))| ChurnHour {
        from: *from,
        made: *made,
        removed: *removed,
    };
    ServiceChurn {
        name,
        made: account.made,
        removed: account.removed,
        failed: account.failed,
        running: account.running,
        seconds: account.time.0 as f64 / 1_000.0,
        memory_gib_hours: account.memory_byte_seconds as f64 / GIB_HOUR,
        causes,
        hours: account.hours.iter().map(hour).collect(),
        budget,
    }
}
