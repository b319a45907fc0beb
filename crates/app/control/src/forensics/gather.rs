//! Puts together what a bundle holds, and takes out what nobody may read.

use std::time::{Duration, Instant};

use hornero_autopsy::{
    BundleContents, BundleLine, BundleManifest, ComparedServers, OtherServer, Redactor, SCHEMA,
    ServerRelation, only_here,
};
use hornero_engine_port::{
    Engine,
    evidence::Evidence,
    log::{LogFrom, LogQuery},
};
use hornero_model::{Digest, InstanceId, Term, Timestamp, error_chain};
use hornero_store::EntryKind;

use super::{
    known::KnownServer,
    noticed::{Forensics, Noticed},
};
use crate::{instances::exit_of, start::Starter};

/// How long looking at what is left of a server may take that has ended: nobody waits for it.
const DEAD_BUDGET: Duration = Duration::from_secs(2);
/// Lines of its log.
const LINES: usize = 300;
/// Bytes of one.
const LINE_BYTES: usize = 4 << 10;
/// Lines of each other server's log that its own are compared with.
const LINES_OF_OTHERS: usize = 200;

/// What everything is read from.
pub struct Gathering<'a> {
    pub forensics: &'a Forensics,
    pub starter: &'a Starter,
    pub term: Term,
}

impl Gathering<'_> {
    /// All that a bundle of a server holds.
    pub fn contents(&self, noticed: Noticed, known: KnownServer) -> BundleContents {
        let begun = Instant::now();
        let engine = &**self.starter.engine();
        let Noticed { instance, service, release, why, mut exit, living } = noticed;
        // One that was looked at while it ran may have ended before it was told to; that counts for nothing.
        let was_living = living.is_some();
        let mut evidence = living.unwrap_or_else(|| dead(engine, self.term, &instance));
        if exit.is_none() && !was_living {
            exit = exit_of(engine, &instance);
        }
        let mut contents = BundleContents::new(BundleManifest {
            schema: SCHEMA,
            image: known.image,
            created: known.created,
            gathered: Timestamp::now(),
            took_ms: 0,
            why,
            exit,
            frozen: evidence.frozen,
            ports: known.ports.clone(),
            program: hornero_model::program_version().to_owned(),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            parts: Vec::new(),
            missed: std::mem::take(&mut evidence.missed),
            instance,
            service,
            release,
        });
        contents.health = self.forensics.healths(&contents.manifest.instance);
        contents.edge = known.counters.clone();
        contents.group = evidence.group.take().unwrap_or_default();
        contents.sockets = std::mem::take(&mut evidence.sockets);
        match self.redactor(&known) {
            Ok(redactor) => self.readable(&mut contents, evidence, &redactor),
            Err(why) => {
                contents.miss("log, command lines and files: all that may have a secret", why)
            }
        }
        self.compare(&mut contents, &known);
        contents.manifest.took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        contents
    }

    /// What knows the values of a server's secrets, so that none of them is kept.
    fn redactor(&self, known: &KnownServer) -> Result<Redactor, String> {
        let secrets =
            known.secrets.as_ref().ok_or("its release is not known, nor are its secrets")?;
        let mut redactor = Redactor::default();
        for secret in secrets {
            let value = self.starter.open_secret(secret).map_err(|error| error_chain(&error))?;
            redactor.learn(&value);
        }
        Ok(redactor)
    }

    /// What people and programs wrote, without values of secrets.
    fn readable(&self, contents: &mut BundleContents, evidence: Evidence, redactor: &Redactor) {
        let Evidence { mut processes, mut scratch, contents: files, kernel, .. } = evidence;
        contents.manifest.why = redactor.text(&contents.manifest.why);
        for process in &mut processes {
            process.command = redactor.command(&process.command);
        }
        for (path, bytes) in files {
            let Err(_) = redactor.file(&bytes) else {
                contents.files.insert(path, bytes);
                continue;
            };
            // A digest of a few bytes would tell which they are.
            for entry in scratch.iter_mut().filter(|entry| entry.path == path) {
                entry.digest = None;
                entry.left_out = Some("it has the value of a secret".to_owned());
            }
        }
        contents.scratch = scratch;
        contents.processes = processes;
        let kernel = self.with_paths(contents.manifest.image.as_ref(), kernel);
        contents.kernel = kernel.iter().map(|line| redactor.text(line)).collect();
        for seen in &mut contents.health {
            seen.error = seen.error.as_deref().map(|error| redactor.text(error));
        }
        match self.lines(&contents.manifest.instance, LINES) {
            Ok(lines) => {
                contents.log = lines.into_iter().map(|line| redacted(line, redactor)).collect()
            }
            Err(why) => contents.miss("log", why),
        }
    }

    /// The kernel's lines with files by their paths: of a root it knows the objects of the store, whose names are digests.
    fn with_paths(&self, image: Option<&Digest>, lines: Vec<String>) -> Vec<String> {
        let tree = || self.starter.store().tree(image?).ok();
        let Some(tree) = lines.iter().any(|line| object_in(line).is_some()).then(tree).flatten()
        else {
            return lines;
        };
        let path = |object: &str| {
            tree.entries().iter().find_map(|entry| match &entry.kind {
                EntryKind::File { digest, .. } if digest.hex().ends_with(object) => {
                    Some(entry.path.to_string())
                }
                _ => None,
            })
        };
        let named = |line: String| match object_in(&line).and_then(|of| Some((of, path(of)?))) {
            Some((object, path)) => line.replace(object, &path),
            None => line,
        };
        lines.into_iter().map(named).collect()
    }

    fn lines(&self, instance: &InstanceId, lines: usize) -> Result<Vec<BundleLine>, String> {
        let query = LogQuery::all(LogFrom::Tail, lines);
        let page =
            self.starter.engine().logs(instance, &query).map_err(|error| error_chain(&error))?;
        let line = |mut line: hornero_engine_port::log::LogLine| {
            let cut = (0..=LINE_BYTES.min(line.text.len()))
                .rev()
                .find(|at| line.text.is_char_boundary(*at));
            line.text.truncate(cut.unwrap_or(0));
            BundleLine { time: line.time, stream: line.stream, text: line.text }
        };
        Ok(page.lines.into_iter().map(line).collect())
    }

    /// What is known of others of its service.
    fn compare(&self, contents: &mut BundleContents, known: &KnownServer) {
        let engine = self.starter.engine();
        let others = known.others.iter().map(|(id, release, relation)| OtherServer {
            instance: id.clone(),
            release: *release,
            relation: *relation,
            figures: engine.figures(id),
            exit: None,
        });
        let siblings = known.others.iter().filter(|(_, _, of)| *of == ServerRelation::Sibling);
        let written =
            siblings.filter_map(|(id, ..)| self.lines(id, LINES_OF_OTHERS).ok()).flatten();
        let written: Vec<BundleLine> = written.collect();
        let own = contents.log.iter().map(|line| line.text.as_str());
        let others_wrote = written.iter().map(|line| line.text.as_str());
        contents.compared = ComparedServers {
            failures: known.failures,
            others: others.collect(),
            only_here: only_here(own, others_wrote),
        };
    }
}

/// The name of an object of the store in a line; its first two digits are the name of a directory.
fn object_in(line: &str) -> Option<&str> {
    let digits = line.split(|one: char| !one.is_ascii_hexdigit());
    digits.into_iter().find(|part| part.len() == 62)
}

fn redacted(line: BundleLine, redactor: &Redactor) -> BundleLine {
    BundleLine { text: redactor.text(&line.text), ..line }
}

fn dead(engine: &dyn Engine, term: Term, instance: &InstanceId) -> Evidence {
    engine.examine(term, instance, DEAD_BUDGET).unwrap_or_else(|error| {
        let mut nothing = Evidence::default();
        nothing.miss("what is left of it", error_chain(&error));
        nothing
    })
}
