//! `verify`: running servers, or a directory, against the image they should equal.

use std::path::{Path, PathBuf};

use hornero_api::message::{VerifyReport, VerifyRequest};
use hornero_model::{DriftFinding, ServiceName};
use hornero_store::TreePath;
use hornero_verify::{Depth, verify_tree};

use crate::{
    command::{absent, named, stores},
    failure::{Failure, exit},
    harmless::harmless,
    output::{Table, Tone, print_json, print_text, short},
    reports::TreeReport,
};

/// Findings shown to people: who has more is better served by `--json`.
const SHOWN_MAX: usize = 50;

/// `hornero verify [SERVICE]`.
pub async fn services(
    home: &Path,
    json: bool,
    service: Option<ServiceName>,
    full: bool,
) -> Result<(), Failure> {
    let client = absent::client(home);
    let report: VerifyReport = client.post("/v1/verify", &VerifyRequest { service, full }).await?;
    let instances = || report.services.iter().flat_map(|service| &service.instances);
    let drifted = instances().filter(|instance| !instance.ok).count();
    let idle: Vec<String> = report
        .services
        .iter()
        .filter(|service| service.instances.is_empty())
        .map(|service| format!("`{}`", service.name))
        .collect();
    if drifted == 0 && idle.is_empty() && json {
        return print_json(&report);
    }
    if !json {
        let mut table = Table::with_head(&["INSTANCE", "RELEASE", "IMAGE", "EQUAL", "MS"]);
        for service in &report.services {
            for instance in &service.instances {
                let equal = match instance.ok {
                    true => ("yes".to_owned(), Tone::Good),
                    false => ("no".to_owned(), Tone::Bad),
                };
                table.row(vec![
                    (instance.id.to_string(), Tone::Plain),
                    (format!("{}@{}", service.name, instance.release), Tone::Plain),
                    (short(Some(&instance.image)), Tone::Quiet),
                    equal,
                    (instance.millis.to_string(), Tone::Quiet),
                ]);
            }
        }
        table.print()?;
    }
    // What was not compared is not known to be equal.
    let nothing_runs = format!("nothing of {} runs", idle.join(", "));
    if drifted == 0 {
        return match idle.is_empty() {
            true => Ok(()),
            false => Err(Failure::new(exit::FAILED, nothing_runs)
                .with_data(&report)
                .hint("`hornero status` says what became of it")),
        };
    }
    let text: String = instances()
        .filter(|instance| !instance.ok)
        .map(|instance| {
            let count = instance.findings.len() as u64 + instance.left_off;
            format!("\n{}:{}", instance.id, listed(&instance.findings, count))
        })
        .collect();
    let of = instances().count();
    let mut message = format!("{drifted} of {of} instances differ from their image{text}");
    if !idle.is_empty() {
        message.push_str(&format!("\n{nothing_runs}"));
    }
    Err(Failure::new(exit::FAILED, message).with_data(&report).hint(
        "`hornero up` replaces servers by new ones made from their image; look at these first",
    ))
}

/// What `--tree` is compared with, and how.
pub struct TreeArguments {
    /// The directory.
    pub tree: PathBuf,
    /// The image.
    pub image: String,
    /// What is left out.
    pub ignore: Vec<PathBuf>,
    /// Whether every content is read.
    pub full: bool,
}

/// `hornero verify --tree PATH --image IMAGE`.
pub fn tree(home: &Path, json_wanted: bool, arguments: &TreeArguments) -> Result<(), Failure> {
    let store = stores::known_store(home)?;
    let _lease = store.lease_to_read()?;
    let image = named::image(home, &store, &arguments.image)?;
    if !arguments.tree.is_dir() {
        let text = format!("no directory `{}`", arguments.tree.display());
        return Err(Failure::new(exit::NO_SUCH_OBJECT, text));
    }
    let depth = if arguments.full { Depth::Full } else { Depth::Fast };
    let ignore = arguments
        .ignore
        .iter()
        .map(|path| TreePath::from_loose(path.as_os_str().as_encoded_bytes()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Failure::new(exit::USAGE, error))?;
    let report = verify_tree(&store, &image, &arguments.tree, depth, &ignore)
        .map_err(|error| Failure::of(&error))?;
    let ok = report.is_clean();
    let findings: Vec<DriftFinding> = report.findings.into_iter().map(Into::into).collect();
    let data = TreeReport {
        tree: &arguments.tree,
        image,
        ok,
        millis: report.millis,
        checked: report.checked,
        findings: &findings,
        left_off: report.left_off,
    };
    if ok {
        return match json_wanted {
            true => print_json(&data),
            false => {
                let checked = report.checked;
                print_text(&format!(
                    "`{}` equals {}: {} files, {} of them read, in {} ms\n",
                    arguments.tree.display(),
                    image.short(),
                    checked.entries,
                    checked.hashed,
                    report.millis
                ))
            }
        };
    }
    let text = listed(&findings, findings.len() as u64 + report.left_off);
    let shown = arguments.tree.display();
    let message = format!("`{shown}` differs from image `{}`:{text}", image.short());
    Err(Failure::new(exit::FAILED, message).with_data(data))
}

/// The first findings, a line each.
fn listed(findings: &[DriftFinding], count: u64) -> String {
    let mut text = String::new();
    for finding in findings.iter().take(SHOWN_MAX) {
        let pid = finding.pid.map_or_else(String::new, |pid| format!(" (process {pid})"));
        let difference = match (finding.expected.as_str(), finding.found.as_str()) {
            ("", "") => String::new(),
            ("", found) => format!(": {found}"),
            (expected, "") => format!(": {expected}"),
            (expected, found) => format!(": {found} instead of {expected}"),
        };
        let line = format!("{} {}{pid}{difference}", finding.kind, finding.path);
        text.push_str(&format!("\n  {}", harmless(&line)));
    }
    let rest = count.saturating_sub(SHOWN_MAX as u64);
    if rest > 0 {
        text.push_str(&format!("\n  and {rest} more; `--json` lists them"));
    }
    text
}
