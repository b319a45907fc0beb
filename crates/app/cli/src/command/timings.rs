//! Where the time of a command goes: stretches on one clock, those of the operation in control among them.

use std::{collections::BTreeMap, time::Instant};

use hornero_bake::BakedImage;
use hornero_model::{InstanceId, RolloutId, ServiceName};

use crate::{
    command::following::{Followed, ToldStep},
    output::{Table, Tone},
    reports::Timing,
};

/// The clock of a command.
#[derive(Debug)]
pub struct Stopwatch {
    is_wanted: bool,
    begun: Instant,
    lap: Instant,
    timings: Vec<Timing>,
}

impl Stopwatch {
    /// Starts it; what it measured is told where that is wanted.
    pub fn begin(is_wanted: bool) -> Self {
        let begun = Instant::now();
        Self { is_wanted, begun, lap: begun, timings: Vec::new() }
    }

    /// What was done since the last lap.
    pub fn lap(&mut self, step: &str) {
        let now = Instant::now();
        let (began_ms, ms) = (self.at(self.lap), milliseconds(self.lap, now));
        self.lap = now;
        let (object, within) = (None, None);
        self.timings.push(Timing { step: step.to_owned(), object, within, began_ms, ms });
    }

    /// The baking since the last lap, and each image in it; one is baked after the other.
    pub fn baked(&mut self, images: &[BakedImage]) {
        let mut began_ms = self.at(self.lap);
        self.lap("bake");
        for image in images {
            let step = if image.cached { "cached" } else { "baked" };
            let ms = image.seconds * 1_000.0;
            self.timings.push(Timing {
                step: step.to_owned(),
                object: Some(format!("image.{}", image.name)),
                within: Some("bake".to_owned()),
                began_ms,
                ms,
            });
            began_ms += ms;
        }
    }

    /// What control did, from the moment when it was asked; the next lap begins after it.
    pub fn operation(&mut self, followed: &Followed) {
        let accepted_ms = self.at(followed.accepted);
        let (began_ms, ms) = (self.at(self.lap), milliseconds(self.lap, followed.accepted));
        let (step, object, within) = ("ask".to_owned(), None, None);
        self.timings.push(Timing { step, object, within, began_ms, ms });
        let stretches = stretches(&followed.steps, followed.took_ms);
        self.timings.extend(
            stretches
                .into_iter()
                .map(|stretch| Timing { began_ms: accepted_ms + stretch.began_ms, ..stretch }),
        );
        self.lap = Instant::now();
    }

    /// All of it, the whole time last, where it is wanted.
    pub fn end(mut self) -> Option<Vec<Timing>> {
        let ms = milliseconds(self.begun, Instant::now());
        let (object, within) = (None, None);
        self.timings.push(Timing { step: "total".to_owned(), object, within, began_ms: 0.0, ms });
        self.is_wanted.then_some(self.timings)
    }

    fn at(&self, moment: Instant) -> f64 {
        milliseconds(self.begun, moment)
    }
}

fn milliseconds(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64() * 1_000.0
}

/// What becomes of a rollout step by step.
struct Way {
    phase: String,
    began_ms: f64,
    /// Where its stretch stands.
    index: usize,
}

/// The stretches of an operation that took so long: each phase of each rollout until the next one, and the start and the
/// probes of each server in it.
fn stretches(steps: &[ToldStep], took_ms: f64) -> Vec<Timing> {
    let mut timings: Vec<Timing> = Vec::new();
    let mut ways: BTreeMap<(Option<ServiceName>, Option<RolloutId>), Way> = BTreeMap::new();
    let mut running: BTreeMap<InstanceId, (f64, Option<usize>)> = BTreeMap::new();
    if let Some(first) = steps.first() {
        timings.push(stretch("wait", None, None, (0.0, first.after_ms)));
    }
    for told in steps {
        let key = (told.service.clone(), told.rollout);
        let way = ways.get(&key);
        let within = way.map(|way| way.phase.clone());
        let phase_began = way.map_or(0.0, |way| way.began_ms);
        let service = told.service.as_ref().map(ToString::to_string);
        match (&told.instance, told.phase.as_str()) {
            (Some(id), "starting") => {
                let span = (phase_began, told.after_ms);
                timings.push(stretch("start", Some(id.to_string()), within, span));
                running.insert(id.clone(), (told.after_ms, None));
            }
            // The last answer is the one that counts.
            (Some(id), "probing") => {
                let Some((since, index)) = running.get_mut(id) else { continue };
                match index {
                    Some(index) => timings[*index].ms = told.after_ms - *since,
                    None => {
                        *index = Some(timings.len());
                        let span = (*since, told.after_ms);
                        timings.push(stretch("probe", Some(id.to_string()), within, span));
                    }
                }
            }
            (_, "testing") => {
                timings.push(stretch("test", service, within, (phase_began, told.after_ms)));
            }
            (_, phase) => {
                if let Some(way) = way {
                    timings[way.index].ms = told.after_ms - way.began_ms;
                }
                // What is no rollout has no last phase: it lasts until something else begins.
                let others = ways.iter().filter(|(of, _)| of.1.is_none() && **of != key);
                let open = others.map(|(of, way)| (of.clone(), way.index, way.began_ms));
                for (of, index, began_ms) in open.collect::<Vec<_>>() {
                    timings[index].ms = told.after_ms - began_ms;
                    ways.remove(&of);
                }
                let index = timings.len();
                let began_ms = told.after_ms;
                ways.insert(key, Way { phase: phase.to_owned(), began_ms, index });
                timings.push(stretch(phase, service, None, (began_ms, took_ms)));
            }
        }
    }
    // What is over takes no time.
    timings.retain(|timing| !ENDS.contains(&timing.step.as_str()));
    timings
}

/// Phases that a rollout is over with.
const ENDS: [&str; 4] = ["finished", "failed", "rolled_back", "removed"];

fn stretch(
    step: &str,
    object: Option<String>,
    within: Option<String>,
    (from, to): (f64, f64),
) -> Timing {
    Timing { step: step.to_owned(), object, within, began_ms: from, ms: (to - from).max(0.0) }
}

/// A table of it for people: what is part of a step stands indented below it.
pub fn table(timings: &[Timing]) -> String {
    let mut table = Table::with_head(&["AT MS", "TOOK MS", "STEP", "OF"]);
    for timing in timings {
        let indent = if timing.within.is_some() { "  " } else { "" };
        let tone = if timing.within.is_some() { Tone::Quiet } else { Tone::Plain };
        table.row(vec![
            (format!("{:.1}", timing.began_ms), Tone::Quiet),
            (format!("{:.1}", timing.ms), tone),
            (format!("{indent}{}", timing.step), tone),
            (timing.object.clone().unwrap_or_default(), tone),
        ]);
    }
    table.render(crate::output::coloured())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(after_ms: f64, phase: &str, instance: Option<&str>) -> ToldStep {
        ToldStep {
            after_ms,
            service: Some("site".parse().unwrap()),
            rollout: Some(RolloutId(7)),
            phase: phase.to_owned(),
            instance: instance.map(|id| InstanceId::new(id).unwrap()),
        }
    }

    #[test]
    fn phases_follow_one_another_and_servers_lie_within_them() {
        let server = Some("site-7-abc");
        let steps = [
            told(2.0, "preparing", None),
            told(30.0, "starting", server),
            told(31.0, "testing", None),
            told(40.0, "probing", server),
            told(55.0, "probing", server),
            told(60.0, "switching", None),
            told(61.0, "watching", None),
            told(261.0, "finished", None),
        ];
        let timings = stretches(&steps, 262.0);
        let seen: Vec<(&str, bool, f64, f64)> = timings
            .iter()
            .map(|of| (of.step.as_str(), of.within.is_some(), of.began_ms, of.ms))
            .collect();
        assert_eq!(
            seen,
            [
                ("wait", false, 0.0, 2.0),
                ("preparing", false, 2.0, 58.0),
                ("start", true, 2.0, 28.0),
                ("test", true, 2.0, 29.0),
                ("probe", true, 30.0, 25.0),
                ("switching", false, 60.0, 1.0),
                ("watching", false, 61.0, 200.0),
            ]
        );
        assert_eq!(timings[2].object.as_deref(), server);
        assert_eq!(timings[2].within.as_deref(), Some("preparing"));
    }

    #[test]
    fn what_is_no_rollout_lasts_until_something_else_begins() {
        let adjusting = ToldStep { rollout: None, ..told(2.0, "adjusting", None) };
        let other = |after_ms, phase| ToldStep {
            service: Some("docs".parse().unwrap()),
            ..told(after_ms, phase, None)
        };
        let steps = [adjusting, other(30.0, "preparing"), other(90.0, "finished")];
        let spans: Vec<(String, f64, f64)> =
            stretches(&steps, 100.0).into_iter().map(|of| (of.step, of.began_ms, of.ms)).collect();
        let expected = [("wait", 0.0, 2.0), ("adjusting", 2.0, 28.0), ("preparing", 30.0, 60.0)];
        assert_eq!(spans, expected.map(|(step, began, ms)| (step.to_owned(), began, ms)));
    }

    #[test]
    fn a_phase_that_goes_on_lasts_until_the_command_left() {
        let steps = [told(1.0, "switching", None), told(2.0, "watching", None)];
        let timings = stretches(&steps, 2.5);
        assert_eq!(timings.last().map(|of| (of.step.as_str(), of.ms)), Some(("watching", 0.5)));
        assert!(stretches(&[], 5.0).is_empty());
    }
}
