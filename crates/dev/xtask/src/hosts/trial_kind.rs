//! What is done on the machines.

/// What is done on the machines.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TrialKind {
    /// Nothing: roots and disks are made.
    None,
    /// What CI has of an operator's day.
    OperatorQuickly,
    /// An operator's day, from the package to its removal.
    Operator,
    /// That, and the tests of sandbox and engine.
    OperatorWithTests,
    /// The first hour of somebody new.
    Newcomer,
}
