//! Every test of the workspace: built once, then its programs run side by side.
//!
//! `cargo test` runs one test program after the other. Ours wait more than they compute (for servers to become healthy,
//! for drains, for a process to end), so several run at once, each with its own homes, ports and networks as they have
//! to anyway.

mod built;
mod shares;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::run;

/// Arguments that choose targets, so that documentation tests are not what was asked for.
const TARGETS: &[&str] = &["--lib", "--bin", "--bins", "--test", "--tests", "--example", "--bench"];

/// What is asked of `cargo xtask test`.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    /// How many programs run at once.
    shares: usize,
    /// For cargo: what is built.
    cargo: Vec<String>,
    /// For each test program: filters and the harness's own options.
    harness: Vec<String>,
}

impl Asked {
    fn parse(arguments: &[String]) -> Result<Self> {
        let (mut shares, mut cargo) = (default_shares(), Vec::new());
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            if argument == "--" {
                break;
            }
            let value = match argument.strip_prefix("--shares") {
                Some("") => rest.next().map(String::as_str),
                Some(value) => value.strip_prefix('='),
                None => {
                    cargo.push(argument.clone());
                    continue;
                }
            };
            shares = match value.and_then(|value| value.parse().ok()) {
                Some(shares @ 1..=64) => shares,
                _ => bail!("`--shares` takes how many test programs run at once, 1 to 64"),
            };
        }
        Ok(Self { shares, cargo, harness: rest.cloned().collect() })
    }

    fn has_documentation(&self) -> bool {
        self.harness.is_empty()
            && !self.cargo.iter().any(|argument| {
                TARGETS
                    .iter()
                    .any(|target| argument == target || argument.starts_with(&format!("{target}=")))
            })
    }
}

/// Two on two processors; no more than four, since servers and their bakes are what most of a test is.
fn default_shares() -> usize {
    std::thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, 4))
}

/// Builds every test and runs none.
///
/// # Errors
/// Where something does not build.
pub fn build() -> Result<()> {
    built::programs(&[]).map(drop)
}

/// Builds the tests that `arguments` choose and runs them.
///
/// # Errors
/// Where something does not build, a test fails, or a test program can't be started. Every program runs first.
pub fn run(arguments: &[String]) -> Result<()> {
    let asked = Asked::parse(arguments)?;
    let begun = Instant::now();
    let programs = built::programs(&asked.cargo)?;
    let build_time = begun.elapsed();
    let begun = Instant::now();
    let outcomes = shares::run(&programs, &asked.harness, asked.shares, &mut std::io::stdout());
    let documented = if asked.has_documentation() { documentation(&asked.cargo) } else { Ok(()) };
    report(&outcomes, build_time, begun.elapsed());
    let failed: Vec<&str> =
        outcomes.iter().filter(|outcome| !outcome.passed).map(|outcome| &*outcome.name).collect();
    if !failed.is_empty() {
        bail!("tests failed in {}", failed.join(", "));
    }
    documented
}

/// The tests in documentation, which only cargo can run.
fn documentation(arguments: &[String]) -> Result<()> {
    let mut cargo = run::cargo();
    cargo.args(["test", "--doc", "--no-fail-fast"]);
    if !built::chooses_packages(arguments) {
        cargo.arg("--workspace");
    }
    let output = cargo.args(arguments).output()?;
    if !output.status.success() {
        // Hundreds of lines that say nothing where all is well.
        print!("{}", String::from_utf8_lossy(&output.stdout));
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
        bail!("tests in documentation failed: {}", output.status);
    }
    Ok(())
}

/// Why tests failed, their names, the slowest programs, and the total: what one looks for at the end of a long log, of
/// which somebody may have kept the end alone.
fn report(outcomes: &[shares::ShareOutcome], build_time: Duration, run_time: Duration) {
    for outcome in outcomes.iter().filter(|outcome| !outcome.passed) {
        println!("\nWhat failed in {}:{}", outcome.name, outcome.failures);
    }
    for outcome in outcomes.iter().filter(|outcome| !outcome.passed) {
        println!("FAILED {} ({})", outcome.name, outcome.ending);
        for test in &outcome.failed_tests {
            println!("    {test}");
        }
    }
    let mut by_time: Vec<&shares::ShareOutcome> = outcomes.iter().collect();
    by_time.sort_by_key(|outcome| std::cmp::Reverse(outcome.took));
    for outcome in by_time.iter().take(5) {
        println!("slowest  {:7.1} s  {}", outcome.took.as_secs_f64(), outcome.name);
    }
    let passed: usize = outcomes.iter().map(|outcome| outcome.tests_passed).sum();
    let failed: usize = outcomes.iter().map(|outcome| outcome.failed_tests.len()).sum();
    println!(
        "{passed} tests passed, {failed} failed in {} programs; built in {:.0} s, run in {:.0} s",
        outcomes.len(),
        build_time.as_secs_f64(),
        run_time.as_secs_f64()
    );
}

#[cfg(test)]
mod cases {
    use super::*;

    fn asked(line: &str) -> Result<Asked> {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Asked::parse(&arguments)
    }

    #[test]
    fn what_is_for_cargo_is_told_from_what_is_for_the_tests() {
        let asked = asked("-p hornero-edge --shares 3 --test limits -- half --nocapture").unwrap();
        assert_eq!(asked.shares, 3);
        assert_eq!(asked.cargo.join(" "), "-p hornero-edge --test limits");
        assert_eq!(asked.harness.join(" "), "half --nocapture");
        assert!(!asked.has_documentation());
    }

    #[test]
    fn documentation_is_tested_unless_targets_are_chosen() {
        assert!(asked("").unwrap().has_documentation());
        assert!(asked("-p hornero-edge").unwrap().has_documentation());
        assert!(!asked("--test=limits").unwrap().has_documentation());
        assert!(!asked("-- name").unwrap().has_documentation());
    }

    #[test]
    fn shares_are_a_number_within_reason() {
        for line in ["--shares", "--shares 0", "--shares=none", "--shares 65", "--sharesfour"] {
            assert!(asked(line).is_err(), "{line}");
        }
        assert_eq!(asked("--shares=1").unwrap().shares, 1);
    }
}
