//! A secret that stands everywhere is nowhere afterwards.

use hornero_engine_port::{
    evidence::{MissedPart, ObservedSocket, ObservedThread, ScratchFile},
    log::LogStream,
};
use hornero_model::{Digest, Health, InstanceId, ReleaseNumber, ServiceName, Timestamp};

use super::*;
use crate::bundle::{BundleLine, BundleManifest, SCHEMA, SeenHealth};

const SECRET: &str = "hunter2hunter2";

fn with_secret(before: &str) -> String {
    format!("{before}{SECRET}")
}

fn manifest() -> BundleManifest {
    BundleManifest {
        schema: SCHEMA,
        instance: InstanceId::new("site-2-a").unwrap(),
        service: ServiceName::new("site").unwrap(),
        release: ReleaseNumber(2),
        image: None,
        created: None,
        gathered: Timestamp(0),
        took_ms: 0,
        why: with_secret("it said "),
        exit: Some(ExitCause::NotStarted(with_secret("no such program: "))),
        frozen: false,
        ports: vec![8080],
        program: "0.2.0".to_owned(),
        kernel: "6.1".to_owned(),
        parts: Vec::new(),
        missed: vec![MissedPart { what: with_secret("files below /"), why: with_secret("/") }],
    }
}

fn process() -> ObservedProcess {
    ObservedProcess {
        pid: 7,
        parent: 1,
        name: SECRET.to_owned(),
        state: "S".to_owned(),
        command: vec!["app".to_owned(), with_secret("--at=")],
        resident_bytes: 0,
        threads: vec![ObservedThread {
            id: 7,
            name: SECRET.to_owned(),
            state: "S".to_owned(),
            waits_in: String::new(),
            stack: Vec::new(),
        }],
        limits: Vec::new(),
        files: [(3, with_secret("/run/"))].into(),
        mapped: [(with_secret("/run/"), 4096), ("/run/[secret]".to_owned(), 1)].into(),
    }
}

fn entry(path: String, target: Option<String>) -> ScratchFile {
    ScratchFile {
        path,
        kind: "file".to_owned(),
        bytes: 1,
        mode: 0o600,
        digest: Some(Digest::of(b"x")),
        target,
        left_out: None,
    }
}

fn socket(kind: &str, local: String) -> ObservedSocket {
    let (remote, state) = (String::new(), "listen".to_owned());
    ObservedSocket { kind: kind.to_owned(), local, remote, state, waiting: 0 }
}

/// A bundle that has the secret wherever somebody could have put it.
fn planted() -> BundleContents {
    let long = with_secret(&"x".repeat(4096 - 7));
    let (time, stream) = (Timestamp(0), LogStream::Stderr);
    BundleContents {
        processes: vec![process()],
        sockets: vec![
            socket("unix", with_secret("/run/")),
            socket("tcp", "0.0.0.0:8080".to_owned()),
        ],
        scratch: vec![
            entry(with_secret("/run/"), Some(with_secret("/"))),
            entry("/run/copy".to_owned(), None),
            entry("/run/[secret]".to_owned(), None),
        ],
        kernel: vec![with_secret("sh[7]: segfault in ")],
        log: vec![BundleLine { time, stream, text: long }],
        health: vec![SeenHealth {
            at: time,
            health: Health::Unhealthy,
            error: Some(with_secret("status 503: ")),
        }],
        files: [
            (with_secret("/run/"), b"one".to_vec()),
            ("/run/[secret]".to_owned(), b"two".to_vec()),
            ("/run/copy".to_owned(), SECRET.as_bytes().to_vec()),
        ]
        .into(),
        ..BundleContents::new(manifest())
    }
}

fn has_none(contents: &BundleContents) {
    let all = format!("{contents:?}");
    assert!(!all.contains("hunter2"), "not even half of it: {all}");
    let held = |bytes: &Vec<u8>| bytes.windows(7).any(|part| part == b"hunter2");
    assert!(!contents.files.values().any(held));
}

#[test]
fn values_are_taken_out_of_everything_before_anything_is_cut() {
    let mut redactor = Redactor::default();
    redactor.learn(SECRET.as_bytes());
    let mut contents = planted();
    redact(&mut contents, &redactor);
    has_none(&contents);
    assert_eq!(contents.manifest.why, "it said [secret]");
    assert_eq!(contents.log[0].text.len(), 4096);
    assert_eq!(contents.processes[0].mapped, [("/run/[secret]".to_owned(), 4097)].into());
    assert_eq!(contents.sockets[0].local, "/run/[secret]");
    // One of two that are called alike now, and that one is what its path was before.
    assert_eq!(contents.files, [("/run/[secret]".to_owned(), b"two".to_vec())].into());
    let left_out: Vec<_> =
        contents.scratch.iter().map(|of| (of.left_out.as_deref(), of.digest.is_some())).collect();
    assert_eq!(left_out, [(Some(SAME_NAME), false), (Some(HAS_SECRET), false), (None, true)]);
}

#[test]
fn where_nobody_knows_the_secrets_no_text_is_left() {
    let mut contents = planted();
    contents.manifest.missed.clear();
    withhold(&mut contents);
    has_none(&contents);
    assert_eq!(contents.manifest.why, LEFT_OUT);
    assert_eq!(contents.health.len(), 1);
    let local: Vec<&str> = contents.sockets.iter().map(|of| of.local.as_str()).collect();
    assert_eq!(local, ["0.0.0.0:8080"], "it is seen that it listens");
}
