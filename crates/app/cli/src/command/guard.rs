//! `guard`: what data guards say.

use std::path::Path;

use hornero_api::message::{GuardsReport, Nothing};
use hornero_model::{GuardVerdict, ServiceName};

use crate::{
    command::operation,
    failure::{Failure, exit},
    harmless::harmless,
    output::{Table, Tone, print_json, print_text},
};

/// `hornero guard check`.
pub async fn check(home: &Path, json: bool, service: &ServiceName) -> Result<(), Failure> {
    let client = operation::client_of(home).await?;
    let path = format!("/v1/services/{service}/guards");
    let report: GuardsReport = client.post(&path, &Nothing {}).await?;
    let failing = report.answers.iter().find(|answer| answer.verdict != GuardVerdict::Passes);
    if !json {
        show(&report)?;
    }
    let Some(answer) = failing else {
        return if json { print_json(&report) } else { Ok(()) };
    };
    let says = match answer.verdict {
        GuardVerdict::Refuses => "would refuse",
        GuardVerdict::Passes | GuardVerdict::Unanswered => "can't be asked",
    };
    let text =
        format!("guard `{}` of `{service}` {says}: {}", answer.guard, harmless(&answer.seen));
    Err(Failure::new(exit::REFUSED, text).word("guard_refuses").with_data(&report))
}

fn show(report: &GuardsReport) -> Result<(), Failure> {
    let service = &report.service;
    if report.declared.is_empty() {
        return print_text(&format!("{service} has no guards\n"));
    }
    if report.answers.is_empty() {
        return print_text(&format!("nothing of {service} serves: there is nobody to ask\n"));
    }
    let mut table = Table::with_head(&["GUARD", "SERVER", "SAYS", "SEEN"]);
    for answer in &report.answers {
        let says = match answer.verdict {
            GuardVerdict::Passes => ("passes", Tone::Good),
            GuardVerdict::Refuses => ("refuses", Tone::Bad),
            GuardVerdict::Unanswered => ("no answer", Tone::Bad),
        };
        let server = answer.instance.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
        table.row(vec![
            (answer.guard.to_string(), Tone::Plain),
            (server, Tone::Quiet),
            (says.0.to_owned(), says.1),
            (harmless(&answer.seen).to_string(), Tone::Plain),
        ]);
    }
    table.print()
}
