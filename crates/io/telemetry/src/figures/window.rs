//! Columns of figures over some moments: what is collected before it is sealed, and what a block holds.

use std::collections::BTreeMap;

use hornero_model::Timestamp;

use super::subject::{Figure, FigureSubject};

/// Values of one figure, from one moment of a window on without a gap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FigureRun {
    pub first: usize,
    pub values: Vec<u64>,
}

/// Figures of some moments that follow each other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FigureWindow {
    /// How many moments there were before the first one.
    pub first_tick: u64,
    pub times: Vec<Timestamp>,
    pub columns: BTreeMap<FigureSubject, BTreeMap<Figure, Vec<FigureRun>>>,
    /// How many values there are.
    pub values: usize,
}

impl FigureWindow {
    /// Without a moment.
    pub fn new(first_tick: u64) -> Self {
        Self { first_tick, ..Self::default() }
    }

    /// How many moments there were up to its end.
    pub fn end_tick(&self) -> u64 {
        self.first_tick + self.times.len() as u64
    }

    /// Adds a moment.
    pub fn add(&mut self, at: Timestamp, figures: &[(FigureSubject, Figure, u64)]) {
        let tick = self.times.len();
        self.times.push(at);
        for (subject, figure, value) in figures {
            if !self.columns.contains_key(subject) {
                self.columns.insert(subject.clone(), BTreeMap::new());
            }
            let Some(columns) = self.columns.get_mut(subject) else { continue };
            let runs = columns.entry(*figure).or_default();
            match runs.last_mut() {
                Some(run) if run.first + run.values.len() == tick => run.values.push(*value),
                // Told twice: the first counts.
                Some(run) if run.first + run.values.len() > tick => continue,
                Some(_) | None => runs.push(FigureRun { first: tick, values: vec![*value] }),
            }
            self.values += 1;
        }
    }

    /// Adds the moments of another one.
    pub fn append(&mut self, other: &Self) {
        let before = self.times.len();
        self.times.extend_from_slice(&other.times);
        for (subject, columns) in &other.columns {
            let own = self.columns.entry(subject.clone()).or_default();
            for (figure, runs) in columns {
                let own = own.entry(*figure).or_default();
                for run in runs {
                    let first = run.first + before;
                    match own.last_mut() {
                        Some(last) if last.first + last.values.len() == first => {
                            last.values.extend_from_slice(&run.values);
                        }
                        Some(_) | None => own.push(FigureRun { first, values: run.values.clone() }),
                    }
                }
            }
        }
        self.values += other.values;
    }
}
