//! Running instances as they should be, and tampered with in each way.

mod support;

use std::{
    ffi::CString,
    fs::{self, File},
    io::Write,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{fs::FileExt, process::CommandExt},
    },
    process::{Child, Command, Stdio},
};

use hornero_sandbox::Profile;
use hornero_verify::{Depth, FindingKind, InstanceUnderTest, Verifier, VerifyError};
use rustix::mount::{
    MountFlags, MountPropagationFlags, mount, mount_bind, mount_change, mount_remount,
};
use support::{House, Instance, libraries, names, shown};

const SLEEP: &str = "/bin/sleep 1000";

/// A process started by the test; ended when dropped.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An instance in which `sleep` runs, with its libraries mapped.
fn sleeping(house: &House, image: &hornero_model::Digest) -> Instance {
    let instance = house.instance(image, &format!("exec {SLEEP}"));
    house.verify_until(image, &instance, |report| report.is_clean() && report.checked.mapped >= 3);
    instance
}

#[test]
fn an_instance_as_it_was_started_equals_its_image() {
    let house = House::new();
    let image = house.programs();
    let instance = house.instance(&image, &format!("{SLEEP} & exec {SLEEP}"));
    let report = house.verify_until(&image, &instance, |report| report.checked.processes == 3);
    assert_eq!(shown(&report), [""; 0]);
    assert!(report.checked.mounts >= 8 && report.checked.mapped >= 4, "{report:#?}");
    let full = house.verify(&image, &instance, Depth::Full);
    assert_eq!(full.findings, []);
    let tree = house.store.tree(&image).unwrap();
    let contents = tree.contents().count() as u64;
    assert!(full.checked.hashed >= contents, "{full:#?}");
    // Without a user namespace, and with nothing declared.
    let plain = house.instance_with(&image, SLEEP, |spec| {
        spec.id_map = None;
        spec.scratch.clear();
        spec.files.clear();
    });
    assert_eq!(house.verify(&image, &plain, Depth::Full).findings, []);
}

#[test]
fn a_program_run_from_scratch_is_named() {
    let house = House::new();
    let image = house.programs();
    let script = "busybox cp /bin/busybox /tmp/busybox; exec /tmp/busybox sleep 1000";
    // Scratch of a server can't hold programs; a build step's can.
    let instance = house.instance_with(&image, script, |spec| spec.profile = Profile::Build);
    let report = house.verify_until(&image, &instance, |report| {
        names(report, FindingKind::Executable, "/tmp/busybox")
    });
    let found = report.findings.iter().find(|finding| finding.path == "/tmp/busybox").unwrap();
    assert_eq!(
        (found.pid, found.found.as_str()),
        (Some(instance.test.pid), "on the tmpfs at /tmp")
    );
    assert!(names(&report, FindingKind::Mount, "/tmp"), "it can hold programs");
    // Deleted while it runs, as one that hides does.
    instance.inside(|| fs::remove_file("/tmp/busybox").unwrap());
    let report = house.verify(&image, &instance, Depth::Fast);
    assert!(names(&report, FindingKind::Deleted, "/tmp/busybox (deleted)"), "{:?}", shown(&report));
}

#[test]
fn a_byte_flipped_in_a_library_in_use_is_named() {
    let house = House::new();
    let image = house.programs();
    let instance = sleeping(&house, &image);
    let other = house.instance(&image, SLEEP);
    let library = libraries("/bin/sleep").into_iter().find(|path| path.contains("libc.")).unwrap();
    let path = house.object(&image, &library);
    let file = File::options().read(true).write(true).open(&path).unwrap();
    // The last byte belongs to the section headers: nothing that runs needs them.
    let last = file.metadata().unwrap().len() - 1;
    let (mut byte, times) = ([0], file.metadata().unwrap().modified().unwrap());
    file.read_exact_at(&mut byte, last).unwrap();
    file.write_all_at(&[byte[0] ^ 1], last).unwrap();
    // Size and modification time are as before.
    file.set_modified(times).unwrap();
    for depth in [Depth::Fast, Depth::Full] {
        let report = house.verify(&image, &instance, depth);
        assert!(names(&report, FindingKind::Object, &library), "{depth:?} {:?}", shown(&report));
        let inside = fs::canonicalize(&library).unwrap();
        let is_of_library = |finding: &&hornero_verify::Finding| {
            finding.path == library || finding.path == inside.to_str().unwrap()
        };
        let kinds: Vec<_> =
            report.findings.iter().filter(is_of_library).map(|finding| finding.kind).collect();
        assert!(kinds.contains(&FindingKind::Library), "{depth:?} {kinds:?}");
        assert_eq!(kinds.contains(&FindingKind::Content), depth == Depth::Full);
        assert!(report.findings.iter().all(|finding| is_of_library(&finding)), "nothing else");
    }
    // Another instance that has not mapped it is told of the damage in its image.
    let mut verifier = Verifier::new(&house.store).unwrap();
    let report = verifier.instance(&image, &other.test, Depth::Fast).unwrap();
    assert!(names(&report, FindingKind::Object, &library));
    file.write_all_at(&byte, last).unwrap();
    assert_eq!(shown(&house.verify(&image, &instance, Depth::Full)), [""; 0]);
}

#[test]
fn mounts_made_from_outside_are_named() {
    let house = House::new();
    let image = house.programs();
    let instance = sleeping(&house, &image);
    let private = || mount_change("/", MountPropagationFlags::PRIVATE).unwrap();
    instance.inside(|| {
        private();
        mount("none", "/srv", "tmpfs", MountFlags::empty(), None).unwrap();
    });
    let report = house.verify(&image, &instance, Depth::Full);
    assert_eq!(shown(&report), ["mount /srv"]);
    instance
        .inside(|| rustix::mount::unmount("/srv", rustix::mount::UnmountFlags::empty()).unwrap());
    assert_eq!(shown(&house.verify(&image, &instance, Depth::Full)), [""; 0]);

    instance.inside(|| mount_bind("/bin/sh", "/srv/page").unwrap());
    assert_eq!(shown(&house.verify(&image, &instance, Depth::Fast)), ["mount /srv/page"]);
    instance.inside(|| {
        rustix::mount::unmount("/srv/page", rustix::mount::UnmountFlags::empty()).unwrap()
    });

    instance.inside(|| {
        let flags = MountFlags::BIND | MountFlags::NOSUID | MountFlags::NODEV;
        mount_remount("/", flags, "").unwrap();
    });
    let report = house.verify(&image, &instance, Depth::Fast);
    assert_eq!(shown(&report), ["mount /"]);
    assert_eq!(report.findings[0].found, "overlay (rw,nosuid,nodev)");
}

#[test]
fn what_entered_from_outside_is_named() {
    let house = House::new();
    let image = house.programs();
    let instance = sleeping(&house, &image);
    let pid = instance.test.pid;
    let nsenter = |arguments: &[&str]| {
        let child = Command::new("nsenter")
            .args(["-t", &pid.to_string()])
            .args(arguments)
            .stdin(Stdio::null())
            .spawn();
        Guard(child.unwrap())
    };
    let entered = nsenter(&["-m", "/bin/busybox", "sleep", "1000"]);
    let report = house.verify_until(&image, &instance, |report| {
        names(report, FindingKind::Process, "/bin/busybox")
    });
    assert_eq!(report.findings[0].pid, Some(entered.0.id()));
    assert_eq!(shown(&report), ["process /bin/busybox"]);
    drop(entered);
    assert_eq!(shown(&house.verify(&image, &instance, Depth::Fast)), [""; 0]);
    // Into its processes only, with the host's files: it can act on all of them.
    let _entered = nsenter(&["-p", "/bin/sleep", "1000"]);
    house.verify_until(&image, &instance, |report| {
        report.findings.iter().any(|finding| {
            finding.kind == FindingKind::Process && finding.found == "left the instance's mounts"
        }) && report.findings.iter().any(|finding| finding.kind == FindingKind::Executable)
    });
}

#[test]
fn what_enters_after_the_round_began_is_named() {
    let house = House::new();
    let image = house.programs();
    let instance = sleeping(&house, &image);
    let mut verifier = Verifier::new(&house.store).unwrap();
    verifier.instance(&image, &instance.test, Depth::Fast).unwrap();
    let pid = instance.test.pid.to_string();
    let mut enter = Command::new("nsenter");
    enter.args(["-t", &pid, "-m", "/bin/busybox", "sleep", "1000"]).stdin(Stdio::null());
    let entered = Guard(enter.spawn().unwrap());
    let program = format!("/proc/{}/exe", entered.0.id());
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !fs::read_link(&program).is_ok_and(|path| path.ends_with("bin/busybox")) {
        assert!(std::time::Instant::now() < deadline);
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    for depth in [Depth::Fast, Depth::Full] {
        let report = verifier.instance(&image, &instance.test, depth).unwrap();
        assert_eq!(shown(&report), ["process /bin/busybox"], "{depth:?}");
    }
}

#[test]
fn what_is_born_again_and_again_does_not_escape() {
    let house = House::new();
    let image = house.programs();
    // Each lives for some milliseconds, and leaves another one behind.
    let script = "busybox cp /bin/busybox /tmp/busybox; \
        echo '/tmp/busybox usleep 2000; /tmp/busybox sh /tmp/hop &' >/tmp/hop; \
        /tmp/busybox sh /tmp/hop; exec /bin/sleep 1000";
    let instance = house.instance_with(&image, script, |spec| spec.profile = Profile::Build);
    let is_other = |finding: &hornero_verify::Finding| {
        finding.kind == FindingKind::Executable && finding.path == "/tmp/busybox"
    };
    house.verify_until(&image, &instance, |report| report.findings.iter().any(is_other));
    for round in 0..20 {
        let report = house.verify(&image, &instance, Depth::Fast);
        // Scratch of this profile is a finding of its own.
        let escaped = report.findings.iter().all(|finding| finding.kind == FindingKind::Mount);
        assert!(!escaped, "round {round}: {:?}", shown(&report));
    }
}

#[test]
fn metadata_that_was_mended_since_is_told_of_those_who_mounted_it_before() {
    let house = House::new();
    let image = house.programs();
    let instance = sleeping(&house, &image);
    let path = house.store.root(&image).unwrap().metadata;
    let file = File::options().read(true).write(true).open(&path).unwrap();
    // The last byte is no entry's: what is mounted shows the same as before.
    let (mut byte, last) = ([0], file.metadata().unwrap().len() - 1);
    file.read_exact_at(&mut byte, last).unwrap();
    file.write_all_at(&[byte[0] ^ 1], last).unwrap();
    // Whoever starts next has it mended.
    let next = sleeping(&house, &image);
    assert_ne!(house.metadata(&image), instance.test.metadata.unwrap());
    for _ in 0..2 {
        let report = house.verify(&image, &instance, Depth::Fast);
        assert_eq!(shown(&report), ["root /"], "it is not forgotten");
        assert_eq!(shown(&house.verify(&image, &next, Depth::Fast)), [""; 0]);
    }
    assert_eq!(shown(&house.verify(&image, &instance, Depth::Full)), [""; 0]);
}

#[test]
fn a_program_without_a_file_is_named() {
    let house = House::new();
    let image = house.programs();
    let instance = sleeping(&house, &image);
    let memory: OwnedFd =
        rustix::fs::memfd_create(c"quiet", rustix::fs::MemfdFlags::empty()).unwrap();
    let program = fs::read("/bin/busybox").unwrap();
    File::from(memory.try_clone().unwrap()).write_all(&program).unwrap();
    let space = File::open(format!("/proc/{}/ns/mnt", instance.test.pid)).unwrap();
    let arguments = ["busybox", "sleep", "1000"].map(|word| CString::new(word).unwrap());
    let mut pointers: Vec<_> = arguments.iter().map(|word| word.as_ptr()).collect();
    pointers.push(std::ptr::null());
    let pointers = pointers.into_iter().map(|pointer| pointer as usize).collect::<Vec<_>>();
    let (memory_fd, space_fd) = (memory.as_raw_fd(), space.as_raw_fd());
    let mut command = Command::new("/never");
    // SAFETY: the child makes two system calls; all they point to lives in the parent's copied memory.
    unsafe {
        command.pre_exec(move || {
            if libc::setns(space_fd, libc::CLONE_NEWNS) == 0 {
                let environment: [*const libc::c_char; 1] = [std::ptr::null()];
                libc::fexecve(memory_fd, pointers.as_ptr().cast(), environment.as_ptr());
            }
            Err(std::io::Error::last_os_error())
        });
    }
    let _running = Guard(command.spawn().unwrap());
    let report = house.verify_until(&image, &instance, |report| {
        names(report, FindingKind::Deleted, "/memfd:quiet (deleted)")
    });
    let found =
        report.findings.iter().find(|finding| finding.kind == FindingKind::Deleted).unwrap();
    assert_eq!(found.found, "in memory, without a file");
}

#[test]
fn what_is_no_instance_is_an_error() {
    let house = House::new();
    let image = house.programs();
    let mut verifier = Verifier::new(&house.store).unwrap();
    let test = |pid| InstanceUnderTest {
        pid,
        scratch: Vec::new(),
        volumes: Vec::new(),
        files: Vec::new(),
        metadata: None,
    };
    let error = verifier.instance(&image, &test(std::process::id()), Depth::Fast).unwrap_err();
    assert!(matches!(error, VerifyError::NoInstance { .. }), "{error}");
    let instance = sleeping(&house, &image);
    let ended = instance.test.clone();
    drop(instance);
    let error = verifier.instance(&image, &ended, Depth::Fast).unwrap_err();
    assert!(matches!(error, VerifyError::NotRunning { .. }), "{error}");
}

#[test]
fn all_of_it_holds_on_every_rung() {
    let rungs = hornero_sandbox::Support::possible_rungs();
    assert!(!rungs.is_empty(), "{:#?}", hornero_sandbox::support().features);
    for rung in rungs {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--skip", "on_every_rung"])
            .env(hornero_sandbox::ROOT_VARIABLE, rung.name())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "on `{rung}`: {text}");
    }
}
