//! Test programs run side by side; what each printed is shown whole when it ends.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
    process::{Command, ExitStatus, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::built::Program;

/// What became of one program.
pub struct ShareOutcome {
    /// The program's name.
    pub name: String,
    /// Whether it ended with success.
    pub passed: bool,
    /// How it ended, in words.
    pub ending: String,
    /// How long it ran.
    pub took: Duration,
    /// How many of its tests passed.
    pub tests_passed: usize,
    /// The names of those that failed.
    pub failed_tests: Vec<String>,
    /// What the harness says of them at its end; where a program failed otherwise, the end of what it printed.
    pub failures: String,
}

/// The program whose tests wait for servers most of their time: one more of them runs than there are processors.
const WAITING: &str = "--test e2e";
/// How many tests of a program run at once, for its harness.
const THREADS: &str = "RUST_TEST_THREADS";
/// How much of a failed program's output is repeated at the end of a run, in bytes.
const FAILURES_MAX: usize = 16 << 10;

/// Runs every program, `shares` of them at once, and writes each one's output to `out` when it has ended.
pub fn run(
    programs: &[Program],
    arguments: &[String],
    shares: usize,
    out: &mut (impl Write + Send),
) -> Vec<ShareOutcome> {
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new((Vec::with_capacity(programs.len()), out));
    thread::scope(|scope| {
        for _ in 0..shares.min(programs.len()) {
            scope.spawn(|| {
                while let Some(program) = programs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (outcome, output) = run_one(program, arguments);
                    let mut held = outcomes.lock().expect("no thread panics while it holds it");
                    let (outcomes, out) = &mut *held;
                    outcomes.push(outcome);
                    show(outcomes, programs.len(), &output, out);
                }
            });
        }
    });
    outcomes.into_inner().expect("no thread panics while it holds it").0
}

/// The newest outcome: its output, then a line of what it came to.
fn show(outcomes: &[ShareOutcome], of: usize, output: &[u8], out: &mut impl Write) {
    let Some(outcome) = outcomes.last() else { return };
    let verdict = if outcome.passed { "ok" } else { "FAILED" };
    // A reader that has gone away is no reason to leave tests half run.
    let _ = out.write_all(output);
    let _ = writeln!(
        out,
        "[{}/{of}] {}: {verdict}, {} tests in {:.1} s\n",
        outcomes.len(),
        outcome.name,
        outcome.tests_passed + outcome.failed_tests.len(),
        outcome.took.as_secs_f64()
    );
    let _ = out.flush();
}

fn run_one(program: &Program, arguments: &[String]) -> (ShareOutcome, Vec<u8>) {
    let begun = Instant::now();
    let ended = execute(program, arguments);
    let took = begun.elapsed();
    let (passed, ending, output) = match ended {
        Ok((status, output)) => (status.success(), status.to_string(), output),
        Err(error) => (false, format!("{error:#}"), Vec::new()),
    };
    let text = String::from_utf8_lossy(&output);
    let (tests_passed, failed_tests) = counted(&text);
    let failures = if passed { String::new() } else { failures(&text) };
    let name = program.name.clone();
    (ShareOutcome { name, passed, ending, took, tests_passed, failed_tests, failures }, output)
}

/// The beginning of the harness's own account of what failed; where there is none, the end of the output.
fn failures(output: &str) -> String {
    let bytes = output.as_bytes();
    let range = match output.find("\nfailures:\n") {
        Some(at) => at..bytes.len().min(at + FAILURES_MAX),
        None => bytes.len().saturating_sub(FAILURES_MAX)..bytes.len(),
    };
    String::from_utf8_lossy(&bytes[range]).into_owned()
}

/// Runs one program where `cargo test` would run it. Its output goes to a file: what a test leaves behind may hold a pipe
/// open for ever.
fn execute(program: &Program, arguments: &[String]) -> Result<(ExitStatus, Vec<u8>)> {
    let mut file = tempfile::tempfile()?;
    let copy = |file: &File| file.try_clone().map(Stdio::from);
    let mut command = Command::new(&program.executable);
    if program.name.ends_with(WAITING) && std::env::var_os(THREADS).is_none() {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        command.env(THREADS, (processors + 1).to_string());
    }
    let status = command
        .args(arguments)
        .current_dir(&program.directory)
        .env("CARGO_MANIFEST_DIR", &program.directory)
        .stdin(Stdio::null())
        .stdout(copy(&file)?)
        .stderr(copy(&file)?)
        .status()
        .with_context(|| format!("cannot run `{}`", program.executable.display()))?;
    let mut output = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut output)?;
    Ok((status, output))
}

/// How many tests passed, and which failed, as the standard harness prints it.
fn counted(output: &str) -> (usize, Vec<String>) {
    let tests = || output.lines().filter_map(|line| line.strip_prefix("test "));
    let ended = |verdict: &'static str| tests().filter_map(move |test| test.strip_suffix(verdict));
    (ended(" ... ok").count(), ended(" ... FAILED").map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell() -> Program {
        Program {
            name: "shell --test sh".to_owned(),
            executable: "/bin/sh".into(),
            directory: "/".into(),
            integration: true,
        }
    }

    #[test]
    fn outcomes_are_told_by_the_exit_code_and_counted_by_line() {
        let script = "pwd; echo 'test a ... ok'; echo 'test b ... FAILED' >&2; exit 101";
        let (outcome, output) = run_one(&shell(), &["-c".to_owned(), script.to_owned()]);
        assert!(!outcome.passed);
        assert_eq!((outcome.tests_passed, outcome.failed_tests), (1, vec!["b".to_owned()]));
        assert_eq!(output, b"/\ntest a ... ok\ntest b ... FAILED\n");
    }

    #[test]
    fn what_failed_is_kept_for_the_end_within_a_bound() {
        let long = "x".repeat(2 * FAILURES_MAX);
        let account = format!("test b ... FAILED\n\nfailures:\n\n---- b stdout ----\nwhy\n{long}");
        let kept = failures(&account);
        assert!(kept.starts_with("\nfailures:\n\n---- b stdout ----\nwhy\n"));
        assert_eq!(kept.len(), FAILURES_MAX);
        let kept = failures("é killed in its midst");
        assert_eq!(kept, "é killed in its midst");
        assert_eq!(failures(&"e".repeat(2 * FAILURES_MAX)).len(), FAILURES_MAX);
        let script = "echo 'test a ... ok'";
        assert_eq!(run_one(&shell(), &["-c".to_owned(), script.to_owned()]).0.failures, "");
    }

    #[test]
    fn every_program_runs_and_one_that_is_not_there_fails_by_itself() {
        let mut programs = vec![shell(), shell(), shell()];
        programs[1].executable = "/is/not/there".into();
        let arguments = ["-c".to_owned(), "true".to_owned()];
        let mut out = Vec::new();
        let outcomes = run(&programs, &arguments, 2, &mut out);
        assert_eq!(outcomes.len(), 3);
        let out = String::from_utf8(out).unwrap();
        assert!(out.contains("[3/3] shell --test sh: "), "{out}");
        let failed: Vec<_> = outcomes.iter().filter(|outcome| !outcome.passed).collect();
        assert_eq!(failed.len(), 1);
        assert!(failed[0].ending.contains("/is/not/there"), "{}", failed[0].ending);
    }

    #[test]
    fn what_a_test_left_behind_does_not_hold_the_others_up() {
        let begun = Instant::now();
        let script = "sleep 20 & echo 'test a ... ok'";
        let (outcome, _) = run_one(&shell(), &["-c".to_owned(), script.to_owned()]);
        assert!(outcome.passed && begun.elapsed() < Duration::from_secs(10));
    }
}
