//! Runs commands of images as instances would.

use std::{fs, io::Read as _, os::fd::OwnedFd, time::Duration};

use hornero_model::{Digest, ExitCause};
use hornero_sandbox::{ComposedRoot, IdMap, Network, Profile, Root, SandboxSpec, Stdio, start};
use hornero_store::Store;

/// Runs a command of an image in the sandbox and gives what it wrote.
pub fn run(store: &Store, image: &Digest, command: &[&str]) -> String {
    let root = store.root(image).unwrap();
    let spec = SandboxSpec {
        root: Root::Composed(ComposedRoot { metadata: root.metadata, objects: root.objects }),
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        env: [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into(),
        workdir: String::new(),
        user: hornero_sandbox::User { uid: 33, gid: 34, groups: Vec::new() },
        id_map: Some(IdMap { first: 300_000_000, count: 65_536 }),
        scratch: Vec::new(),
        tmp_bytes: 1 << 20,
        files: Vec::new(),
        hostname: "moved".to_owned(),
        cgroup: None,
        profile: Profile::Service,
    };
    let (read, write) = std::io::pipe().unwrap();
    let stdio =
        Stdio { stdin: None, stdout: write.try_clone().unwrap().into(), stderr: write.into() };
    let mut running = start(&spec, stdio, Network::Isolated)
        .unwrap_or_else(|error| panic!("{}", error.one_line()));
    let mut text = String::new();
    fs::File::from(OwnedFd::from(read)).read_to_string(&mut text).unwrap();
    let cause = running.wait(Some(Duration::from_secs(60))).unwrap().unwrap();
    assert_eq!(cause, ExitCause::Code(0), "{text}");
    text
}
