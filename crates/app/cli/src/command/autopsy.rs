//! `autopsy` and `bundle`: what is kept of servers that failed. Reads files, and asks no control process.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use hornero_autopsy::{AutopsyFinding, BundleContents, autopsy};
use hornero_forensics::{BundleError, SealedBundle, Shelf, ShelvedBundle, read};
use hornero_ledger::{VerifyingKey, is_sealed};
use hornero_model::{InstanceId, Timestamp, error_chain};

use crate::{
    arguments::BundleCommand,
    failure::{Failure, exit},
    harmless::harmless,
    output::{Table, Tone, age, print_json, print_text, size},
    reports::{AutopsyReport, ExportedBundle, ListedBundle},
};

/// A bundle is made within seconds after its server failed; whoever asks right then waits for it.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks whether it is there.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// Lines of the log that are shown.
const LINES: usize = 10;

/// `hornero autopsy`.
pub fn run(home: &Path, json: bool, object: Option<String>) -> Result<(), Failure> {
    let object = object.as_deref();
    let mut path = found(home, object)?;
    let mut bundle = read(&path);
    if is_gone(&bundle) {
        // It got its last name meanwhile.
        path = found(home, object)?;
        bundle = read(&path);
    }
    let bundle = bundle.map_err(|error| unreadable(&error))?;
    let finding = autopsy(&bundle.contents);
    let report = report(home, &path, &bundle, finding);
    match json {
        true => print_json(&report),
        false => print_text(&harmless(&text(&report, &bundle.contents))),
    }
}

fn is_gone(read: &Result<SealedBundle, BundleError>) -> bool {
    let missing = std::io::ErrorKind::NotFound;
    matches!(read, Err(BundleError::File { source, .. }) if source.kind() == missing)
}

/// `hornero bundle`.
pub fn bundles(home: &Path, json: bool, command: &BundleCommand) -> Result<(), Failure> {
    match command {
        BundleCommand::Ls => list(home, json),
        BundleCommand::Export { instance, out } => export(home, json, instance, out),
    }
}

/// The file that is meant: a path, the bundle of a server, or the newest.
fn found(home: &Path, object: Option<&str>) -> Result<PathBuf, Failure> {
    let shelf = Shelf::of(home);
    let Some(object) = object else {
        let newest = shelf.list().map_err(|error| Failure::of(&error))?.into_iter().next();
        return newest.map(|bundle| bundle.path).ok_or_else(|| {
            no_bundle("no server of this home failed, or its bundle is gone".to_owned())
        });
    };
    if object.contains('/') || Path::new(object).is_file() {
        return Ok(PathBuf::from(object));
    }
    let instance = InstanceId::new(object).map_err(|_| {
        Failure::new(exit::USAGE, format!("`{object}` is neither an instance nor a file"))
    })?;
    of_instance(home, &shelf, &instance).map(|bundle| bundle.path)
}

/// The bundle of a server; one that failed a moment ago is waited for.
fn of_instance(home: &Path, shelf: &Shelf, id: &InstanceId) -> Result<ShelvedBundle, Failure> {
    let is_known = ["", ".archived"]
        .iter()
        .any(|below| home.join("instances").join(below).join(id.as_str()).exists());
    let until = Instant::now() + if is_known { PATIENCE } else { Duration::ZERO };
    loop {
        if let Some(bundle) = shelf.find(id) {
            return Ok(bundle);
        }
        if Instant::now() >= until {
            return Err(no_bundle(format!("no bundle of `{id}`")));
        }
        thread::sleep(LOOK_INTERVAL);
    }
}

fn no_bundle(text: String) -> Failure {
    let hint =
        "`hornero bundle ls` lists what there is; of a service, only so many are made in an hour";
    Failure::new(exit::NO_SUCH_OBJECT, text).word("no_such_bundle").hint(hint)
}

fn unreadable(error: &BundleError) -> Failure {
    let word = match error {
        BundleError::File { .. } => return Failure::of(error),
        BundleError::NoBundle { .. } => "no_bundle",
        BundleError::Changed { .. } => "bundle_changed",
        BundleError::Newer { .. } => "bundle_newer",
    };
    Failure::new(exit::FAILED, error_chain(error)).word(word)
}

fn report<'a>(
    home: &Path,
    path: &Path,
    bundle: &'a SealedBundle,
    finding: AutopsyFinding,
) -> AutopsyReport<'a> {
    let SealedBundle { seal, contents } = bundle;
    let manifest = &contents.manifest;
    let own = VerifyingKey::load(&home.join("keys")).ok();
    let last = contents.log.len().saturating_sub(LINES);
    AutopsyReport {
        instance: &manifest.instance,
        service: &manifest.service,
        release: manifest.release,
        cause: finding.cause,
        summary: finding.summary,
        exit: manifest.exit.as_ref(),
        why: &manifest.why,
        evidence: finding.evidence,
        figures: &contents.group,
        missed: manifest.missed.iter().map(|of| format!("{}: {}", of.what, of.why)).collect(),
        last_lines: contents.log[last..].iter().map(|line| line.text.as_str()).collect(),
        image: manifest.image.as_ref(),
        bundle: path.display().to_string(),
        digest: &seal.body.digest,
        sealed: seal.body.sealed,
        intact: is_sealed(seal),
        key: &seal.key,
        of_this_home: own.is_some_and(|own| own.to_string() == seal.key),
    }
}

fn text(report: &AutopsyReport<'_>, contents: &BundleContents) -> String {
    let mut text = format!("{}: {}\n", report.instance, report.summary);
    let mut line = |word: &str, value: &str| text.push_str(&format!("  {word:<10} {value}\n"));
    line("server", &format!("{}@{}, {}", report.service, report.release, report.why));
    match report.exit {
        Some(exit) => line("end", &exit.to_string()),
        None => line("end", "none: it ran when it was looked at"),
    }
    let mut word = "evidence";
    for told in &report.evidence {
        line(std::mem::take(&mut word), told);
    }
    let mut word = "last lines";
    for told in &report.last_lines {
        line(std::mem::take(&mut word), told);
    }
    let processes = contents.processes.len();
    if processes > 0 {
        let threads: usize = contents.processes.iter().map(|of| of.threads.len()).sum();
        line(
            "processes",
            &format!("{processes} with {threads} threads, {} sockets", contents.sockets.len()),
        );
    }
    let files = contents.scratch.iter().filter(|of| of.kind == "file");
    let bytes: u64 = files.clone().map(|of| of.bytes).sum();
    line(
        "scratch",
        &format!(
            "{} files, {}, {} of them kept whole",
            files.count(),
            size(bytes),
            contents.files.len()
        ),
    );
    let mut word = "missed";
    for told in &report.missed {
        line(std::mem::take(&mut word), told);
    }
    let whose = match (report.intact, report.of_this_home) {
        (false, _) => "its seal does NOT fit: somebody touched it".to_owned(),
        (true, true) => "sealed with this home's key".to_owned(),
        (true, false) => format!("sealed with the key {}", report.key),
    };
    line("seal", &format!("{whose}, {}", report.sealed));
    line("bundle", &report.bundle);
    text
}

fn list(home: &Path, json: bool) -> Result<(), Failure> {
    let found = Shelf::of(home).list().map_err(|error| Failure::of(&error))?;
    let listed = found.into_iter().map(|bundle| {
        let body = bundle.seal.body;
        ListedBundle {
            instance: body.instance,
            service: body.service,
            release: body.release,
            sealed: body.sealed,
            summary: body.summary,
            bytes: bundle.bytes,
            digest: body.digest,
            path: bundle.path.display().to_string(),
        }
    });
    let listed: Vec<ListedBundle> = listed.collect();
    if json {
        return print_json(&listed);
    }
    if listed.is_empty() {
        return print_text("no server of this home failed, or their bundles are gone\n");
    }
    let now = Timestamp::now();
    let mut table = Table::with_head(&["SERVER", "RELEASE", "SEALED", "SIZE", "LIKELY CAUSE"]);
    for bundle in &listed {
        table.row(vec![
            (bundle.instance.to_string(), Tone::Plain),
            (format!("{}@{}", bundle.service, bundle.release), Tone::Quiet),
            (format!("{} ago", age(now, bundle.sealed)), Tone::Quiet),
            (size(bundle.bytes), Tone::Quiet),
            (harmless(&bundle.summary).into_owned(), Tone::Plain),
        ]);
    }
    table.print()
}

fn export(home: &Path, json: bool, id: &InstanceId, out: &Path) -> Result<(), Failure> {
    let bundle = of_instance(home, &Shelf::of(home), id)?;
    // What is not what was sealed helps nobody elsewhere.
    read(&bundle.path).map_err(|error| unreadable(&error))?;
    let written = fs::read(&bundle.path).and_then(|bytes| {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).open(out)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        Ok(bytes.len() as u64)
    });
    let bytes = written.map_err(|error| {
        Failure::new(exit::FAILED, format!("write `{}`: {error}", out.display()))
    })?;
    let path = out.display().to_string();
    let (instance, digest) = (id.clone(), bundle.seal.body.digest);
    if json {
        return print_json(&ExportedBundle { instance, path, bytes, digest });
    }
    print_text(&format!("{path}: {}, sha256 of its archive {digest}\n", size(bytes)))
}
