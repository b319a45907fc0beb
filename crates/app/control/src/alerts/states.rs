//! Alerts over time: what has held for long enough fires, and what has been over for long enough is resolved.

use std::collections::BTreeMap;

use hornero_model::{Millis, Timestamp};
use serde::{Deserialize, Serialize};

use super::rules::{AlertRule, RULES};

/// Alerts at once; what is over is not looked at. A home has some hundred services.
const STANDING: usize = 2048;
/// Resolved ones that are remembered, to be shown.
const RESOLVED: usize = 100;

/// What holds now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// By which rule.
    pub rule: &'static AlertRule,
    /// Of what: a service, or another object.
    pub object: String,
    /// What was seen, in a sentence.
    pub summary: String,
}

/// One alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandingAlert {
    /// The rule's name.
    pub rule: String,
    /// Of what.
    pub object: String,
    /// What was seen last.
    pub summary: String,
    /// Since when it holds.
    pub since: Timestamp,
    /// When it fired; absent while it is pending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fired: Option<Timestamp>,
    /// When it was last seen to hold.
    pub seen: Timestamp,
    /// When it was resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved: Option<Timestamp>,
}

impl StandingAlert {
    /// The rule that it is of; none where this version has it no more.
    pub fn rule(&self) -> Option<&'static AlertRule> {
        RULES.into_iter().find(|rule| rule.name == self.rule)
    }
}

/// All alerts of a home.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlertBook {
    standing: BTreeMap<(String, String), StandingAlert>,
    /// The last ones that were resolved, oldest first.
    resolved: Vec<StandingAlert>,
}

impl AlertBook {
    /// With those that were there before.
    pub fn of(standing: Vec<StandingAlert>) -> Self {
        let (resolved, standing): (Vec<_>, Vec<_>) = standing
            .into_iter()
            .filter(|one| one.rule().is_some())
            .partition(|one| one.resolved.is_some());
        let keyed = standing.into_iter().map(|one| ((one.rule.clone(), one.object.clone()), one));
        Self { standing: keyed.collect(), resolved }
    }

    /// Those that hold and the last ones that were resolved.
    pub fn all(&self) -> impl Iterator<Item = &StandingAlert> {
        self.standing.values().chain(&self.resolved)
    }

    /// Those that fire.
    pub fn firing(&self) -> impl Iterator<Item = &StandingAlert> {
        self.standing.values().filter(|one| one.fired.is_some())
    }

    /// Takes what holds at a moment, and gives what fires or is resolved by that.
    pub fn step(&mut self, now: Timestamp, conditions: Vec<Condition>) -> Vec<StandingAlert> {
        let mut changed = Vec::new();
        for Condition { rule, object, summary } in conditions {
            let key = (rule.name.to_owned(), object.clone());
            if !self.standing.contains_key(&key) && self.standing.len() >= STANDING {
                continue;
            }
            let one = self.standing.entry(key).or_insert_with(|| StandingAlert {
                rule: rule.name.to_owned(),
                object,
                summary: String::new(),
                since: now,
                fired: None,
                seen: now,
                resolved: None,
            });
            (one.summary, one.seen) = (summary, now);
            if one.fired.is_none() && elapsed(one.since, now) >= rule.pending {
                one.fired = Some(now);
                changed.push(one.clone());
            }
        }
        let over = |one: &StandingAlert| match (one.seen == now, one.fired, one.rule()) {
            (true, ..) => false,
            // What did not fire was nothing.
            (false, None, _) | (false, _, None) => true,
            (false, Some(_), Some(rule)) => elapsed(one.seen, now) >= rule.keep,
        };
        let gone: Vec<_> =
            self.standing.iter().filter(|(_, one)| over(one)).map(|(key, _)| key.clone()).collect();
        for key in gone {
            let Some(one) = self.standing.remove(&key).filter(|one| one.fired.is_some()) else {
                continue;
            };
            let one = StandingAlert { resolved: Some(now), ..one };
            if self.resolved.len() >= RESOLVED {
                self.resolved.remove(0);
            }
            self.resolved.push(one.clone());
            changed.push(one);
        }
        changed
    }
}

fn elapsed(from: Timestamp, to: Timestamp) -> Millis {
    Millis(to.0.saturating_sub(from.0))
}

#[cfg(test)]
mod tests {
    use super::super::rules::{BUDGET_NEAR, SERVERS_MISSING};
    use super::*;

    fn holds(rule: &'static AlertRule) -> Vec<Condition> {
        vec![Condition { rule, object: "site".to_owned(), summary: "seen".to_owned() }]
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp(1_000_000 + seconds * 1_000)
    }

    #[test]
    fn what_holds_for_long_enough_fires_once_and_is_resolved_once() {
        let mut book = AlertBook::default();
        assert_eq!(book.step(at(0), holds(&SERVERS_MISSING)), [], "it is pending");
        assert_eq!(book.step(at(119), holds(&SERVERS_MISSING)), []);
        assert_eq!(book.firing().count(), 0);
        let fired = book.step(at(120), holds(&SERVERS_MISSING));
        assert_eq!(fired.len(), 1);
        assert_eq!((fired[0].since, fired[0].fired), (at(0), Some(at(120))));
        assert_eq!(book.step(at(125), holds(&SERVERS_MISSING)), [], "it is said once");
        assert_eq!(book.step(at(130), Vec::new()), [], "it may come back");
        assert_eq!(book.step(at(184), Vec::new()), []);
        let resolved = book.step(at(185), Vec::new());
        assert_eq!((resolved.len(), resolved[0].resolved), (1, Some(at(185))));
        assert_eq!(book.step(at(190), Vec::new()), []);
        assert_eq!(book.all().count(), 1, "it is shown still");
    }

    #[test]
    fn what_comes_and_goes_is_one_alert() {
        let mut book = AlertBook::default();
        assert_eq!(book.step(at(0), holds(&BUDGET_NEAR)).len(), 1, "this one fires at once");
        for round in 1..100 {
            let conditions = if round % 2 == 0 { holds(&BUDGET_NEAR) } else { Vec::new() };
            assert_eq!(book.step(at(round * 60), conditions), [], "{round}");
        }
        let mut book = AlertBook::default();
        for round in 0..100 {
            let conditions = if round % 2 == 0 { holds(&SERVERS_MISSING) } else { Vec::new() };
            assert_eq!(book.step(at(round * 60), conditions), [], "never long enough: {round}");
        }
    }

    #[test]
    fn a_restart_neither_forgets_nor_repeats() {
        let mut book = AlertBook::default();
        book.step(at(0), holds(&BUDGET_NEAR));
        let mut later = AlertBook::of(book.all().cloned().collect());
        assert_eq!(later, book);
        assert_eq!(later.step(at(10), holds(&BUDGET_NEAR)), []);
        assert_eq!(later.step(at(700), Vec::new()).len(), 1, "resolved while nobody looked");
    }

    #[test]
    fn there_is_a_bound() {
        let mut book = AlertBook::default();
        for number in 0..10_000_u64 {
            let condition = Condition {
                rule: &BUDGET_NEAR,
                object: number.to_string(),
                summary: String::new(),
            };
            book.step(at(number), vec![condition]);
        }
        assert!(book.all().count() <= STANDING + RESOLVED);
    }
}
