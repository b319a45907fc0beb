//! Puts together what a bundle holds, and takes out what nobody may read.

use std::time::{Duration, Instant};

use hornero_autopsy::{
    BundleContents, BundleLine, BundleManifest, ComparedServers, OtherServer, Redactor, SCHEMA,
    ServerRelation, only_here, redact, withhold,
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
/// Lines of each other server's log that its own are compared with.
const LINES_OF_OTHERS: usize = 200;
/// What is missing where a server's secrets are not known.
const MAY_HAVE_SECRETS: &str = "log, command lines, files, what it was ended for and what checks met: all that may have a secret";

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
        let redactor = self.redactor(&known);
        match &redactor {
            Ok(redactor) => {
                self.readable(&mut contents, evidence);
                redact(&mut contents, redactor);
            }
            Err(why) => {
                withhold(&mut contents);
                contents.miss(MAY_HAVE_SECRETS, why.as_str());
            }
        }
        self.compare(&mut contents, &known, redactor.as_ref().ok());
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

    /// What people and programs wrote, with whatever secrets are in it.
    fn readable(&self, contents: &mut BundleContents, evidence: Evidence) {
        let Evidence { processes, scratch, contents: files, kernel, .. } = evidence;
        contents.processes = processes;
        (contents.scratch, contents.files) = (scratch, files);
        contents.kernel = self.with_paths(contents.manifest.image.as_ref(), kernel);
        match self.lines(&contents.manifest.instance, LINES) {
            Ok(lines) => contents.log = lines,
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
        let line = |line: hornero_engine_port::log::LogLine| BundleLine {
            time: line.time,
            stream: line.stream,
            text: line.text,
        };
        Ok(page.lines.into_iter().map(line).collect())
    }

    /// What is known of others of its service.
    fn compare(
        &self,
        contents: &mut BundleContents,
        known: &KnownServer,
        redactor: Option<&Redactor>,
    ) {
        let engine = self.starter.engine();
        let others = known.others.iter().map(|(id, release, relation)| OtherServer {
            instance: id.clone(),
            release: *release,
            relation: *relation,
            figures: engine.figures(id),
        });
        let siblings = known.others.iter().filter(|(_, _, of)| *of == ServerRelation::Sibling);
        // Without lines of its own there is nothing to compare.
        let compared = redactor.map(|redactor| (siblings, redactor));
        let written: Vec<String> = compared
            .into_iter()
            .flat_map(|(siblings, redactor)| {
                let lines = siblings.filter_map(|(id, ..)| self.lines(id, LINES_OF_OTHERS).ok());
                lines.flatten().map(|line| redactor.line(&line.text))
            })
            .collect();
        let own = contents.log.iter().map(|line| line.text.as_str());
        let others_wrote = written.iter().map(String::as_str);
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

fn dead(engine: &dyn Engine, term: Term, instance: &InstanceId) -> Evidence {
    engine.examine(term, instance, DEAD_BUDGET).unwrap_or_else(|error| {
        let mut nothing = Evidence::default();
        nothing.miss("what is left of it", error_chain(&error));
        nothing
    })
}
