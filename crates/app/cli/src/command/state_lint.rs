//! `state-lint`: what servers hold that would be lost with them, and what to declare.

use std::{collections::BTreeMap, path::Path, time::Duration};

use hornero_api::{ClientError, message::WrittenReport};
use hornero_model::{Digest, ImageName, ServiceName, Timestamp, WrittenFile, WrittenInstance};
use hornero_state_lint::{StateFinding, StateLook, StatePlace, WrittenState, lint};

use crate::{
    arguments::StateLintArguments,
    command::{absent, bake, state_facts},
    failure::{Failure, exit},
    harmless::harmless,
    output::{age, print_json, print_text, size},
    project::{self, Project},
    reports::{LintedService, StateLintReport},
};

/// Places that a warning names.
const WARNED: usize = 3;

/// `hornero state-lint [DIR]`: changes nothing.
pub async fn run(
    home: &Path,
    json_wanted: bool,
    arguments: &StateLintArguments,
) -> Result<(), Failure> {
    let project = project::read(&arguments.source, json_wanted)?;
    let forecast = bake::foresee(home, &project)?;
    let digest_of = |name: &ImageName| forecast.iter().find(|image| image.name == *name)?.digest;
    let known = state_facts::known(home, &project, digest_of)?;
    let mut missed = Vec::new();
    let looks = looks(home, &project, arguments.watch, &mut missed).await?;
    let mut report = StateLintReport { services: Vec::new(), findings: Vec::new(), missed };
    for service in known {
        let name = service.facts.service.clone();
        let own = looks.get(&name).map_or(&[][..], Vec::as_slice);
        report.findings.extend(lint(&service.facts, own));
        if !service.baked {
            let image = &service.facts.image;
            report.missed.push(format!("image `{image}`: it is not baked yet as it is declared"));
        }
        let (baked, instances) = (service.baked, own.len());
        report.services.push(LintedService { name, baked, instances });
    }
    report.missed.sort();
    report.missed.dedup();
    tell(&report, json_wanted)
}

fn tell(report: &StateLintReport, json_wanted: bool) -> Result<(), Failure> {
    let count = report.findings.len();
    if json_wanted && count == 0 {
        return print_json(report);
    }
    if !json_wanted {
        for missed in &report.missed {
            tell!("note: not looked at: {}", harmless(missed));
        }
        let now = Timestamp::now();
        let texts: Vec<String> = report.findings.iter().map(|one| shown(one, now)).collect();
        print_text(&texts.join("\n"))?;
    }
    if count == 0 {
        let servers: usize = report.services.iter().map(|service| service.instances).sum();
        let services = report.services.len();
        let found = match report.missed.is_empty() {
            true => "nothing would be lost",
            false => "nothing was found, and not all was looked at",
        };
        return print_text(&format!(
            "{found}: {services} services and {servers} running servers looked at\n"
        ));
    }
    let message = match count {
        1 => "1 place holds data that goes with its server".to_owned(),
        _ => format!("{count} places hold data that goes with their servers"),
    };
    Err(Failure::new(exit::FAILED, message).with_data(report).hint(
        "declare a volume for what has to stay, and `not_state` for what need not; docs/guides/state.md",
    ))
}

/// Warns in a line of what the declaration and the images give away; `up` and `plan` go on whatever it is.
pub fn warn(home: &Path, project: &Project, digest_of: impl Fn(&ImageName) -> Option<Digest>) {
    let known = match state_facts::known(home, project, digest_of) {
        Ok(known) => known,
        Err(error) => return tell!("note: what holds data is not known: {}", error.message()),
    };
    let findings: Vec<StateFinding> =
        known.iter().flat_map(|service| lint(&service.facts, &[])).collect();
    if findings.is_empty() {
        return;
    }
    let named = findings.iter().take(WARNED);
    let named = named.map(|finding| format!("`{}` of `{}`", finding.path, finding.service));
    let mut named: Vec<String> = named.collect();
    if findings.len() > WARNED {
        named.push(format!("{} more", findings.len() - WARNED));
    }
    let command = match project.dir == std::env::current_dir().unwrap_or_default() {
        true => "hornero state-lint".to_owned(),
        false => format!("hornero state-lint {}", project.dir.display()),
    };
    let named = harmless(&named.join(", ")).into_owned();
    tell!("warning: what is written to {named} has no volume; `{command}` says more");
}

/// What running servers of the directory's services have written, at two moments. Without a control process, nothing.
async fn looks(
    home: &Path,
    project: &Project,
    watch: Duration,
    missed: &mut Vec<String>,
) -> Result<BTreeMap<ServiceName, Vec<StateLook>>, Failure> {
    let names: Vec<String> =
        project.spec.services.keys().map(|name| format!("service={name}")).collect();
    if names.is_empty() {
        return Ok(BTreeMap::new());
    }
    let client = absent::client(home);
    let path = format!("/v1/written?{}", names.join("&"));
    let before: WrittenReport = match client.get(&path).await {
        Ok(report) => report,
        Err(ClientError::Unreachable { .. }) => {
            missed.push("running servers: no control process runs".to_owned());
            return Ok(BTreeMap::new());
        }
        // What a server wrote must not keep what others have from being told.
        Err(error @ ClientError::Broken(_)) => {
            missed.push(format!("running servers: {error}"));
            return Ok(BTreeMap::new());
        }
        Err(ClientError::Refused(problem, _)) if problem.code == "no_such_endpoint" => {
            missed
                .push("running servers: the control process is of before it could tell".to_owned());
            return Ok(BTreeMap::new());
        }
        Err(error) => return Err(error.into()),
    };
    let runs = before.services.iter().any(|service| !service.instances.is_empty());
    let after = match runs && !watch.is_zero() {
        true => {
            tokio::time::sleep(watch).await;
            client.get(&path).await?
        }
        false => before.clone(),
    };
    let before = before.services.into_iter().flat_map(|service| service.instances);
    let before: BTreeMap<_, WrittenInstance> = before.map(|one| (one.id.clone(), one)).collect();
    let mut looks: BTreeMap<ServiceName, Vec<StateLook>> = BTreeMap::new();
    for service in after.services {
        for after in service.instances {
            if let Some(why) = &after.missed {
                missed.push(format!("files of `{}` {why}", after.id));
            }
            let before = before.get(&after.id).cloned().unwrap_or_else(|| after.clone());
            looks.entry(service.name.clone()).or_default().push(StateLook { before, after });
        }
    }
    Ok(looks)
}

/// A finding for people.
fn shown(finding: &StateFinding, now: Timestamp) -> String {
    let place = match finding.place {
        StatePlace::Scratch => "scratch",
        StatePlace::ReadOnly => "read-only",
    };
    let mut lines = vec![
        format!("{}: {} ({place})", finding.service, finding.path),
        format!("  holds: {}", finding.holder),
        format!("  lost:  {}", finding.lost),
    ];
    if let Some(written) = &finding.written {
        lines.extend(written_lines(written, now));
    }
    let remedy = &finding.remedy;
    lines.push("  to keep it:".to_owned());
    lines.extend(remedy.volume.lines().map(|line| format!("    {line}")));
    lines.push(format!("  and in `service \"{}\"`:", finding.service));
    lines.extend(remedy.service.lines().map(|line| format!("  {line}")));
    lines.extend(remedy.also.iter().map(|also| format!("  and {also}")));
    lines.push("  or, where it is no data, there:".to_owned());
    lines.push(format!("  {}", remedy.not_state));
    lines.iter().map(|line| format!("{}\n", harmless(line))).collect()
}

fn written_lines(written: &WrittenState, now: Timestamp) -> Vec<String> {
    let grown = match written.grown_bytes {
        0 => String::new(),
        bytes => format!(", growing ({} between two looks)", size(bytes)),
    };
    let (files, bytes) = (written.files, size(written.bytes));
    let servers: Vec<&str> = written.instances.iter().map(|id| id.as_str()).collect();
    let first = format!("  has:   {files} files, {bytes}{grown}, in {}", servers.join(", "));
    let mut lines = vec![first];
    lines.extend(written.largest.iter().map(|file| file_line(file, now)));
    if !written.largest.contains(&written.newest) {
        lines.push(file_line(&written.newest, now));
    }
    lines
}

fn file_line(file: &WrittenFile, now: Timestamp) -> String {
    let format = file.format.map_or_else(String::new, |format| format!(", {}", format.words()));
    let open = if file.open { ", open for writing" } else { "" };
    let (bytes, age) = (size(file.bytes), age(now, file.modified));
    format!("         {}: {bytes}, written {age} ago{open}{format}", file.path)
}
