//! Churn: what was made and removed, what limits of it stopped, and letting that go on.

use std::path::Path;

use hornero_api::{
    ClientError,
    message::{ChurnReport, ChurnUse, Intent, Nothing, ResumeReport, ResumeRequest, ServiceStatus},
};
use hornero_control::{Account, churn_report};
use hornero_model::{ChurnScope, Event, Millis, ServiceName, Timestamp};
use hyper::Method;

use crate::{
    command::{absent, logs::since_time, operation},
    failure::{Failure, exit},
    home_settings,
    output::{Table, Tone, print_json, print_text},
};

/// What is told where nobody says since when.
const DAY: Millis = Millis(86_400_000);

/// `hornero churn`: reads the ledger, also where no control process runs.
pub async fn churn(
    home: &Path,
    json: bool,
    service: Option<ServiceName>,
    since: Option<&str>,
) -> Result<(), Failure> {
    let now = Timestamp::now();
    let since = match since {
        Some(text) => since_time(text)?,
        None => Timestamp(now.0.saturating_sub(DAY.0)),
    };
    let account = read(home, since).await?;
    let mut report = churn_report(&account.at(now), account.churn(), since, now);
    report.services.retain(|one| service.as_ref().is_none_or(|service| *service == one.name));
    if let (Some(service), true) = (&service, report.services.is_empty()) {
        let failure = Failure::new(exit::NO_SUCH_OBJECT, format!("no service `{service}`"));
        return Err(failure.word("no_such_service"));
    }
    if json {
        return print_json(&report);
    }
    print_text(&text(&report, service.is_some(), crate::output::coloured()))
}

async fn read(home: &Path, since: Timestamp) -> Result<Account, Failure> {
    let mut account = Account::since(since);
    account.limit_home(home_settings::of(home).budget);
    let (client, path) = (absent::client(home), "/v1/audit?from=1");
    let asked = client.stream::<Event>(Method::GET, path, None::<&Nothing>);
    match asked.await {
        Ok(mut events) => {
            while let Some(event) = events.next().await? {
                account.apply(&event);
            }
        }
        Err(error @ ClientError::Unreachable { .. }) => {
            absent::note(home, error)?;
            let see = &mut |event: Event| {
                account.apply(&event);
                true
            };
            let read = hornero_control::events_offline(home, 1, see);
            read.map_err(|error| Failure::of(&*error))?;
        }
        Err(error) => return Err(error.into()),
    }
    Ok(account)
}

/// What was made by itself beside its limits, such as `3/60 an hour, 3/300 a day`.
fn by_itself(uses: &[ChurnUse]) -> String {
    let own = uses.iter().filter(|one| one.scope == ChurnScope::Unrequested);
    let own = own.map(|one| format!("{}/{} {}", one.made, one.limit, one.window));
    own.collect::<Vec<_>>().join(", ")
}

fn text(report: &ChurnReport, by_hour: bool, colour: bool) -> String {
    let mut services = Table::with_head(&[
        "SERVICE",
        "MADE",
        "REMOVED",
        "FAILED",
        "RUNNING",
        "SERVER HOURS",
        "GIB HOURS",
        "BY ITSELF",
    ]);
    let mut causes = Table::with_head(&["SERVICE", "MADE", "WHO", "WHY"]);
    let mut hours = Table::with_head(&["HOUR", "MADE", "REMOVED"]);
    let plain = |text: String| (text, Tone::Plain);
    for service in &report.services {
        let failed = if service.failed > 0 { Tone::Bad } else { Tone::Plain };
        services.row(vec![
            plain(service.name.to_string()),
            plain(service.made.to_string()),
            plain(service.removed.to_string()),
            (service.failed.to_string(), failed),
            plain(service.running.to_string()),
            plain(format!("{:.2}", service.seconds / 3_600.0)),
            plain(format!("{:.2}", service.memory_gib_hours)),
            plain(by_itself(&service.budget)),
        ]);
        for cause in &service.causes {
            let others = cause.who.is_empty();
            causes.row(vec![
                plain(service.name.to_string()),
                plain(cause.made.to_string()),
                plain(if others { "-".to_owned() } else { cause.who.clone() }),
                plain(if others { "other reasons".to_owned() } else { cause.why.clone() }),
            ]);
        }
        for hour in &service.hours {
            let counts = [hour.made, hour.removed].map(|count| plain(count.to_string()));
            hours.row([vec![plain(hour.from.to_string())], counts.to_vec()].concat());
        }
    }
    let mut tables = vec![services.render(colour), causes.render(colour)];
    tables.extend(by_hour.then(|| hours.render(colour)));
    format!(
        "{}\nsince {}; in all by itself: {}\n",
        tables.join("\n"),
        report.since,
        by_itself(&report.home)
    )
}

/// `hornero resume`: lets go on what a limit of churn stopped.
pub async fn resume(
    home: &Path,
    json: bool,
    service: Option<ServiceName>,
    why: String,
) -> Result<(), Failure> {
    let client = operation::client_of(home).await?;
    let request = ResumeRequest { service, intent: Intent { why, commit: None } };
    let report: ResumeReport = client.post("/v1/resume", &request).await?;
    if json {
        return print_json(&report);
    }
    if report.resumed.is_empty() {
        return print_text("nothing was stopped\n");
    }
    report.resumed.iter().try_for_each(|stop| {
        let whose = match &stop.service {
            Some(service) => service.to_string(),
            None => "the home".to_owned(),
        };
        print_text(&format!("{whose} goes on; it was stopped because {}\n", stop.reason))
    })
}

/// Warnings of limits that were reached; nothing where none was.
pub fn stopped(services: &[ServiceStatus]) -> String {
    let mut text = String::new();
    let mut is_home_told = false;
    for service in services {
        let Some(stop) = &service.stopped else { continue };
        let (whose, line) = match &stop.service {
            Some(name) => (format!("`{name}`"), format!("hornero resume {name}")),
            None if std::mem::replace(&mut is_home_told, true) => continue,
            None => ("every service".to_owned(), "hornero resume".to_owned()),
        };
        text.push_str(&format!(
            "\nwarning: nothing of {whose} is made or removed by itself since {}: {}; `{line} --reason …` lets it go on, \
             traffic is not touched\n",
            stop.since, stop.reason
        ));
    }
    text
}
