//! Looks at the rules every some seconds, remembers what fires, and has it told.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use hornero_api::message::{AlertDestination, AlertStatus, AlertsReport};
use hornero_home::{Opening, open, put};
use hornero_ledger::Ledger;
use hornero_model::{AlertSettings, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    conditions::of_disk,
    outbox::Outbox,
    rollouts::RolloutNews,
    rules::METRIC,
    send,
    states::{AlertBook, Condition, StandingAlert},
};
use crate::metrics::{Exposition, FamilyKind};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(5);
/// Between two times that an Alertmanager is told of everything that fires.
const REPEAT: Duration = Duration::from_secs(60);
/// Bytes of the file: some thousand alerts.
const FILE_BYTES: u64 = 8 << 20;

/// What looks at everything but the disk; none where control ends.
pub type AlertLook = Box<dyn Fn(Timestamp) -> Option<Vec<Condition>> + Send>;

#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    format: u32,
    alerts: Vec<StandingAlert>,
    /// What waits for each destination.
    #[serde(default)]
    waiting: BTreeMap<String, Vec<StandingAlert>>,
    /// The alerts, by rule and object, that each destination was told of and not yet that they are over; absent in files of
    /// earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    told: Option<BTreeMap<String, BTreeSet<(String, String)>>>,
}

/// The alerts of a home.
#[derive(Debug)]
pub struct Alerts {
    home: PathBuf,
    file: PathBuf,
    book: Mutex<AlertBook>,
    settings: AlertSettings,
    outboxes: BTreeMap<&'static str, Arc<Outbox>>,
    rollouts: Option<RolloutNews>,
    ended: AtomicBool,
    /// What the file says.
    kept: Mutex<Kept>,
}

impl Alerts {
    /// Those of a home, as the control process before this one left them.
    pub fn of(home: &Path, settings: AlertSettings) -> Self {
        let file = home.join("alerts.json");
        let kept = read(&file).unwrap_or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!("`{}` can't be read, alerts begin anew: {error}", file.display());
            }
            Kept::default()
        });
        let destinations = [
            ("alertmanager", &settings.alertmanager),
            ("webhook", &settings.webhook),
            ("command", &settings.command),
        ];
        let declared = destinations.into_iter().filter(|(_, place)| place.is_some());
        let book = AlertBook::of(kept.alerts);
        let outboxes = declared.map(|(kind, _)| {
            let waiting = kept.waiting.get(kind).cloned().unwrap_or_default();
            let told = told(&book, &waiting, kept.told.as_ref().map(|told| told.get(kind)));
            // One that it was not told of, as when it was declared just now.
            let outbox = Outbox::of(waiting, told.iter().cloned());
            let waits: BTreeSet<_> = outbox.waiting().iter().map(key).collect();
            let missing = book.firing().filter(|one| {
                let key = key(one);
                !told.contains(&key) && !waits.contains(&key)
            });
            missing.for_each(|one| outbox.add(one.clone()));
            (kind, Arc::new(outbox))
        });
        let outboxes: BTreeMap<_, _> = outboxes.collect();
        let rollouts = settings.rollouts.clone().map(|url| RolloutNews::new(home, url));
        let (book, ended) = (Mutex::new(book), AtomicBool::new(false));
        let (home, kept) = (home.to_owned(), Mutex::default());
        Self { home, file, book, settings, outboxes, rollouts, ended, kept }
    }

    fn book(&self) -> MutexGuard<'_, AlertBook> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How they stand.
    pub fn report(&self) -> AlertsReport {
        let mut alerts: Vec<AlertStatus> = self.book().all().filter_map(status).collect();
        alerts.sort_by_key(|alert| (alert.resolved.is_some(), std::cmp::Reverse(alert.since)));
        let outboxes = self.outboxes.iter().map(|(kind, outbox)| {
            let status = outbox.status();
            AlertDestination {
                kind: (*kind).to_owned(),
                waiting: status.waiting,
                dropped: status.dropped,
                taken: status.taken,
                fault: status.fault,
            }
        });
        let rollouts = self.rollouts.as_ref().map(|news| AlertDestination {
            kind: "rollouts".to_owned(),
            fault: news.fault(),
            ..AlertDestination::default()
        });
        AlertsReport { alerts, destinations: outboxes.chain(rollouts).collect() }
    }

    /// Those that fire, as Prometheus reads them.
    pub fn exposition(&self) -> String {
        let mut text = Exposition::default();
        text.family(METRIC, FamilyKind::Gauge, "Alerts that fire.");
        for alert in self.report().alerts.iter().filter(|alert| alert.state == "firing") {
            let AlertStatus { rule, object, severity, .. } = alert;
            text.sample(&[("rule", rule), ("object", object), ("severity", severity)], 1);
        }
        text.into_text()
    }

    /// Looks and tells from now on, each on a thread of its own: none waits for another.
    pub fn begin(
        self: &Arc<Self>,
        look: AlertLook,
        ledger: Arc<dyn Ledger>,
        newest: impl Fn() -> u64 + Send + 'static,
    ) -> io::Result<()> {
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new().name(name.to_owned()).spawn(work).map(|_| ())
        };
        for (kind, outbox) in &self.outboxes {
            let (own, outbox, kind) = (Arc::clone(self), Arc::clone(outbox), *kind);
            spawn(
                kind,
                Box::new(move || {
                    let send = |alert: &StandingAlert| {
                        // A control process after this one knows that it may have been told.
                        own.keep();
                        own.send(kind, alert)
                    };
                    outbox.run(send, || own.keep());
                }),
            )?;
        }
        if self.rollouts.is_some() {
            let own = Arc::clone(self);
            let work = move || own.rollouts.iter().for_each(|news| news.run(&ledger, &newest));
            spawn("rollouts", Box::new(work))?;
        }
        let own = Arc::clone(self);
        spawn("alerts", Box::new(move || own.watch(&look)))
    }

    /// Ends it.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.outboxes.values().for_each(|outbox| outbox.end());
        self.rollouts.iter().for_each(RolloutNews::end);
    }

    fn watch(&self, look: &AlertLook) {
        let mut repeated = None;
        while !self.ended.load(Ordering::Acquire) {
            let now = Timestamp::now();
            let Some(mut conditions) = look(now) else { return };
            conditions.extend(of_disk(&self.home));
            let mut book = self.book();
            let changed = book.step(now, conditions);
            drop(book);
            for alert in changed {
                let state = if alert.resolved.is_some() { "resolved" } else { "fires" };
                tracing::warn!(
                    rule = alert.rule,
                    object = alert.object,
                    "alert {state}: {}",
                    alert.summary
                );
                self.outboxes.values().for_each(|outbox| outbox.add(alert.clone()));
            }
            self.keep();
            if repeated.is_none_or(|at: Instant| at.elapsed() >= REPEAT) {
                repeated = Some(Instant::now());
                self.repeat();
            }
            std::thread::sleep(LOOK);
        }
    }

    /// An Alertmanager forgets what it is not told of again, and one that was started anew knows nothing.
    fn repeat(&self) {
        let Some(outbox) = self.outboxes.get("alertmanager") else { return };
        let firing: Vec<StandingAlert> = self.book().firing().cloned().collect();
        firing.into_iter().for_each(|alert| outbox.add(alert));
    }

    fn send(&self, kind: &str, alert: &StandingAlert) -> Result<(), String> {
        let home = self.home.display().to_string();
        let settings = &self.settings;
        match (kind, &settings.alertmanager, &settings.webhook, &settings.command) {
            ("alertmanager", Some(url), ..) => {
                let body = send::for_alertmanager(&home, alert, Timestamp::now());
                send::post(&format!("{url}/api/v2/alerts"), &Value::Array(vec![body]))
            }
            ("webhook", _, Some(url), _) => send::post(url, &send::shown(&home, alert)),
            ("command", .., Some(program)) => {
                send::run(Path::new(program), &send::shown(&home, alert))
            }
            _ => Ok(()),
        }
    }

    /// Writes what a control process after this one has to know, where that is something else than what it has written.
    fn keep(&self) {
        // One after the other: the last one that looks writes what is the case.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // What is pending begins anew, and when it was seen last says nothing then.
        let fired = |alert: &&StandingAlert| alert.fired.is_some();
        let alerts: Vec<StandingAlert> = self.book().all().filter(fired).cloned().collect();
        let waiting =
            self.outboxes.iter().map(|(kind, outbox)| ((*kind).to_owned(), outbox.waiting()));
        let told = self.outboxes.iter().map(|(kind, outbox)| ((*kind).to_owned(), outbox.told()));
        let told = Some(told.collect());
        let now = Kept { format: 1, alerts, waiting: waiting.collect(), told };
        let same = |one: &StandingAlert, other: &StandingAlert| {
            (&one.rule, &one.object, one.fired, one.resolved)
                == (&other.rule, &other.object, other.fired, other.resolved)
        };
        let alike = now.alerts.len() == kept.alerts.len()
            && now.alerts.iter().zip(&kept.alerts).all(|(one, other)| same(one, other))
            && (&now.waiting, &now.told) == (&kept.waiting, &kept.told);
        if alike {
            return;
        }
        let written = serde_json::to_vec(&now).map_err(io::Error::other);
        *kept = now;
        if let Err(error) = written.and_then(|bytes| put(&self.file, &bytes)) {
            tracing::warn!("`{}` can't be written: {error}", self.file.display());
        }
    }
}

fn key(alert: &StandingAlert) -> (String, String) {
    (alert.rule.clone(), alert.object.clone())
}

/// What a destination was told of: as it is kept, or in a file of an earlier version all that fires and does not wait.
fn told(
    book: &AlertBook,
    waiting: &[StandingAlert],
    kept: Option<Option<&BTreeSet<(String, String)>>>,
) -> BTreeSet<(String, String)> {
    if let Some(kept) = kept {
        return kept.cloned().unwrap_or_default();
    }
    let untold: BTreeSet<_> =
        waiting.iter().filter(|one| one.resolved.is_none()).map(key).collect();
    let told = book.firing().map(key).filter(|key| !untold.contains(key));
    // One that is over and waits was told of.
    let over = waiting.iter().filter(|one| one.resolved.is_some()).map(key);
    told.chain(over).collect()
}

fn status(alert: &StandingAlert) -> Option<AlertStatus> {
    let rule = alert.rule()?;
    let state = match (alert.fired, alert.resolved) {
        (_, Some(_)) => "resolved",
        (Some(_), None) => "firing",
        (None, None) => "pending",
    };
    Some(AlertStatus {
        rule: rule.name.to_owned(),
        object: alert.object.clone(),
        severity: rule.urgency.as_str().to_owned(),
        state: state.to_owned(),
        summary: alert.summary.clone(),
        remedy: rule.remedy.to_owned(),
        since: alert.since,
        fired: alert.fired,
        resolved: alert.resolved,
    })
}

fn read(file: &Path) -> io::Result<Kept> {
    let mut bytes = Vec::new();
    open(file, Opening::Read)?.take(FILE_BYTES).read_to_end(&mut bytes)?;
    let kept: Kept = serde_json::from_slice(&bytes).map_err(io::Error::other)?;
    match kept.format {
        1 => Ok(kept),
        format => Err(io::Error::other(format!("its format is {format}"))),
    }
}
