//! Each cause from what speaks for it.

use hornero_engine_port::{
    evidence::{ObservedProcess, ObservedSocket, ObservedThread},
    log::LogStream,
};
use hornero_model::{GroupFigures, Health, InstanceId, ReleaseNumber, ServiceName, Timestamp};

use super::*;
use crate::bundle::{BundleLine, BundleManifest, SCHEMA, SeenHealth};

fn contents(exit: Option<ExitCause>) -> BundleContents {
    BundleContents::new(BundleManifest {
        schema: SCHEMA,
        instance: InstanceId::new("site-2-a").unwrap(),
        service: ServiceName::new("site").unwrap(),
        release: ReleaseNumber(2),
        image: None,
        created: None,
        gathered: Timestamp(0),
        took_ms: 0,
        why: "it failed".to_owned(),
        exit,
        frozen: false,
        ports: vec![8080],
        program: "0.2.0".to_owned(),
        kernel: "6.1".to_owned(),
        parts: Vec::new(),
        missed: Vec::new(),
    })
}

fn wrote(mut contents: BundleContents, lines: &[&str]) -> BundleContents {
    let line = |text: &&str| BundleLine {
        time: Timestamp(0),
        stream: LogStream::Stderr,
        text: (*text).to_owned(),
    };
    contents.log = lines.iter().map(line).collect();
    contents
}

/// A server that runs, with a process whose threads are in these states and wait there.
fn running(threads: &[(&str, &str)], listens: bool, error: &str) -> BundleContents {
    let mut contents = contents(None);
    let thread = |(id, (state, waits_in)): (usize, &(&str, &str))| ObservedThread {
        id: u32::try_from(id).unwrap(),
        name: "app".to_owned(),
        state: (*state).to_owned(),
        waits_in: (*waits_in).to_owned(),
        stack: Vec::new(),
    };
    let process = |pid: u32, parent: u32, threads: &[(&str, &str)]| ObservedProcess {
        pid,
        parent,
        name: "app".to_owned(),
        state: "S".to_owned(),
        command: Vec::new(),
        resident_bytes: 0,
        threads: threads.iter().enumerate().map(thread).collect(),
        limits: Vec::new(),
        files: Default::default(),
        mapped: Default::default(),
    };
    contents.processes = vec![process(7, 1, &[("R", "")]), process(8, 7, threads)];
    contents.sockets = vec![ObservedSocket {
        kind: "tcp".to_owned(),
        local: "0.0.0.0:8080".to_owned(),
        remote: "0.0.0.0:0".to_owned(),
        state: if listens { "listen" } else { "established" }.to_owned(),
        waiting: 0,
    }];
    let seen = |health, error| SeenHealth { at: Timestamp(0), health, error };
    contents.health =
        vec![seen(Health::Healthy, None), seen(Health::Unhealthy, Some(error.to_owned()))];
    contents
}

#[track_caller]
fn check(contents: &BundleContents, cause: LikelyCause, summary: &str) {
    let found = autopsy(contents);
    assert_eq!((found.cause, found.summary.as_str()), (cause, summary), "{:?}", found.evidence);
}

#[test]
fn what_was_killed_for_memory_is_told_with_its_figures() {
    let mut killed = contents(Some(ExitCause::OutOfMemory));
    check(&killed, LikelyCause::KilledForMemory, "killed for memory");
    killed.group = GroupFigures {
        memory_peak_bytes: Some((64 << 20) - 4096),
        memory_limit_bytes: Some(64 << 20),
        out_of_memory_kills: 2,
        ..GroupFigures::default()
    };
    let expected = "killed for memory within its limit of 64.0 MiB; it had at most 64.0 MiB; \
                    the kernel killed 2 processes";
    check(&killed, LikelyCause::KilledForMemory, expected);
    killed.manifest.exit = Some(ExitCause::Signal(9));
    check(&killed, LikelyCause::KilledForMemory, expected);
    killed.group.out_of_memory_kills = 0;
    let expected = "it was ended by SIGKILL, which it did not send itself, and not for memory";
    check(&killed, LikelyCause::Killed, expected);
}

#[test]
fn crashes_are_told_with_the_frame_where_somebody_says_it() {
    let mut crashed = contents(Some(ExitCause::Signal(11)));
    check(&crashed, LikelyCause::Crashed, "crashed by signal 11 (SIGSEGV)");
    crashed.kernel = vec![
        "app[9]: segfault at 8 ip 00007f sp 00007ffc error 4 in libc.so.6[8c1f0,7f00+1000] likely on CPU 1"
            .to_owned(),
    ];
    check(&crashed, LikelyCause::Crashed, "crashed by signal 11 (SIGSEGV) at `libc.so.6+0x8c1f0`");
    let aborted = wrote(
        contents(Some(ExitCause::Signal(6))),
        &["thread 'main' panicked at src/main.rs:12:5:", "no such upstream"],
    );
    check(&aborted, LikelyCause::Crashed, "crashed by signal 6 (SIGABRT) at src/main.rs:12:5");
    check(
        &contents(Some(ExitCause::Code(139))),
        LikelyCause::Crashed,
        "crashed by signal 11 (SIGSEGV)",
    );
    let refused = contents(Some(ExitCause::Signal(31)));
    let expected = "crashed by signal 31 (SIGSYS): it made a system call that its sandbox refuses";
    check(&refused, LikelyCause::Crashed, expected);
}

#[test]
fn what_a_program_said_last_counts_where_it_ended_by_itself() {
    let exited = |code, lines: &[&str]| wrote(contents(Some(ExitCause::Code(code))), lines);
    check(&exited(3, &["bye", " "]), LikelyCause::Exited, "exited with 3; last line: bye");
    check(&exited(1, &[]), LikelyCause::Exited, "exited with 1; it wrote nothing");
    let expected = "exited with 0, although a server goes on; last line: done";
    check(&exited(0, &["done"]), LikelyCause::Exited, expected);
    let expected =
        "file system is read-only at `/srv/a/state`: add `/srv/a` to `scratch` of its image";
    let lines = ["sh: 1: cannot create /srv/a/state: Read-only file system", "giving up"];
    check(&exited(2, &lines), LikelyCause::ReadOnly, expected);
    let lines = ["OSError: [Errno 98] Address already in use"];
    let expected = "could not bind port 8080: somebody in the same server has it already";
    check(&exited(1, &lines), LikelyCause::NotBound, expected);
    let lines = ["connect to 10.0.0.9:5432 failed: Connection refused"];
    let expected = "dependency refused by `10.0.0.9:5432`: connect to 10.0.0.9:5432 failed: Connection refused";
    check(&exited(1, &lines), LikelyCause::DependencyRefused, expected);
    let expected = "it did not start: mount the root: no such device";
    let reason = ExitCause::NotStarted("mount the root: no such device".to_owned());
    check(&contents(Some(reason)), LikelyCause::NotStarted, expected);
}

#[test]
fn one_that_runs_is_told_by_what_its_check_met() {
    let refused = "the connection was refused";
    let silent = running(&[("S", "")], false, refused);
    let expected = "it runs, and nothing in it listens on port 8080";
    check(&silent, LikelyCause::NotListening, expected);
    let said = wrote(silent, &["could not bind to 0.0.0.0:8080: Address already in use"]);
    let expected = "could not bind port 8080: somebody in the same server has it already";
    check(&said, LikelyCause::NotBound, expected);
    let late = "timed out after 1s";
    let busy = running(&[("R", ""), ("S", "futex_wait")], true, late);
    let expected = "health check timed out while it was busy: 1 of 2 threads ran";
    check(&busy, LikelyCause::Unresponsive, expected);
    // What it said long before does not explain why it hangs.
    let busy = wrote(busy, &["connect to 10.0.0.9:5432 failed: Connection refused"]);
    check(&busy, LikelyCause::Unresponsive, expected);
    assert!(autopsy(&busy).evidence.iter().any(|line| line.contains("10.0.0.9")));
    let waits =
        running(&[("S", "futex_wait"), ("S", "futex_wait"), ("S", "pipe_read")], true, late);
    let expected =
        "health check timed out while it waited: none of 3 threads ran, most wait in futex_wait";
    check(&waits, LikelyCause::Unresponsive, expected);
    let ill = running(&[("S", "")], true, "status 503");
    check(&ill, LikelyCause::Unhealthy, "health check failed: status 503");
    let unknown = running(&[("R", "")], true, "");
    let expected = "it was not healthy; what its health check met is not known";
    check(&unknown, LikelyCause::Unhealthy, expected);
}
