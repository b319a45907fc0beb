//! Network namespaces for tests: nothing here touches the machine's own firewall, and all of it goes with its thread.

use std::{
    io::Write as _,
    panic::resume_unwind,
    process::{Command, Stdio},
    thread,
};

use rustix::thread::{UnshareFlags, unshare_unsafe};

/// A network namespace that is there while something runs in it.
pub struct Namespace;

impl Namespace {
    pub fn new() -> Self {
        Self
    }

    /// Runs `work` on a thread inside; programs it runs are inside too.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            // SAFETY: only the network namespace is unshared, no descriptors.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.unwrap();
            work()
        };
        thread::scope(|scope| {
            scope.spawn(inside).join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }
}

/// Runs a program to its good end, and gives what it printed.
#[track_caller]
pub fn run(words: &[&str]) -> String {
    run_input(words, "")
}

/// The same with something on its stdin.
#[track_caller]
pub fn run_input(words: &[&str], input: &str) -> String {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{words:?}: {error}"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}
