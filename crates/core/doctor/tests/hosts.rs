//! What hosts of many kinds are told: facts in, report out. The machine that runs this is none of them.

mod support;

use expect_test::expect;
use hornero_doctor::{
    ControlFacts, HostFacts, ModuleState, Need, PathFault, examine, first_missing, told_before,
};
use hornero_model::{HostFeature, HostState, Timestamp};
use support::{debian_12, docker_container, nothing_known, rhel_9, ubuntu_22_04};

fn word(state: HostState) -> &'static str {
    match state {
        HostState::Pass => "pass",
        HostState::Degraded => "degraded",
        HostState::Missing => "missing",
    }
}

/// Everything that is not as it should be, in the order it is told.
fn check(facts: &HostFacts, expected: expect_test::Expect) {
    let mut report = examine(facts, "0.1.0");
    report.checks.retain(|finding| finding.state != HostState::Pass);
    expected.assert_eq(&report.text());
}

/// The one check `id`, in a line or some.
fn check_one(facts: &HostFacts, id: &str, expected: expect_test::Expect) {
    let report = examine(facts, "0.1.0");
    let finding = report.checks.iter().find(|finding| finding.id == id).unwrap();
    let mut lines = vec![format!("{}: {}", word(finding.state), finding.observed)];
    lines.extend(finding.hint.iter().flat_map(|hint| hint.lines()).map(|line| format!("> {line}")));
    expected.assert_eq(&lines.join("\n"));
}

#[test]
fn debian_with_the_package_lacks_nothing() {
    check(
        &debian_12(),
        expect![[r#"
        servers can run here: nothing is missing
    "#]],
    );
    assert_eq!(first_missing(&debian_12(), Need::Run), None);
    assert_eq!(told_before(&debian_12(), Need::Run), []);
}

#[test]
fn ubuntu_with_its_own_kernel() {
    check(
        &ubuntu_22_04(),
        expect![[r#"
            servers can't run here: 1 thing is missing

            missing
              kernel   erofs           absent
                                       cost: images can't be mounted
                                       hint: apt-get install linux-modules-extra-5.15.0-119-generic && modprobe erofs

            degraded
              control  boot            no unit `hornero.service`
                                       cost: nothing starts again after a reboot until somebody runs `hornero up`
                                       hint: install Hornero's package, which brings the unit
              bake     debian_archive  no apt sources and no keyring of Debian
                                       cost: images with `debian = …` can't be baked from this host's own apt sources
                                       hint: apt install debian-archive-keyring; then write `mirror = "https://<a mirror of Debian>/debian"` and `keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"` in the image
        "#]],
    );
    assert_eq!(first_missing(&ubuntu_22_04(), Need::Bake).unwrap().id, "erofs");
}

#[test]
fn red_hat_with_selinux() {
    check(
        &rhel_9(),
        expect![[r#"
            servers can run here: 1 thing is degraded

            degraded
              bake  debian_archive  no apt sources and no keyring of Debian
                                    cost: images with `debian = …` can't be baked from this host's own apt sources
                                    hint: dnf install debian-keyring; then write `mirror = "https://<a mirror of Debian>/debian"` and `keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"` in the image
        "#]],
    );
    let mut confined = rhel_9();
    confined.security.label = Some("system_u:system_r:container_t:s0".into());
    check_one(
        &confined,
        "security_module",
        expect![[r#"
        degraded: SELinux, enforcing; the command is `container_t`
        > run it as an unconfined user or service (`chcon -t bin_t` on the program, then `runcon -t unconfined_t`); `ausearch -m avc -ts recent` shows what was refused"#]],
    );
    confined.security.selinux_enforcing = Some(false);
    check_one(&confined, "security_module", expect!["pass: SELinux, permissive"]);
}

#[test]
fn a_container_without_privileges() {
    check(
        &docker_container(),
        expect![[r#"
            servers can't run here: 3 things are missing

            missing
              rights   capabilities     without CAP_NET_ADMIN, CAP_SYS_ADMIN
                                        cost: namespaces, mounts, owners or the bridge can't be made
                                        hint: in a container: give it all capabilities (`docker run --privileged`); as a service: take `CapabilityBoundingSet=` out of its unit
              kernel   control_groups   version 2, read-only
                                        cost: no server starts without its limits
                                        hint: mount -o remount,rw /sys/fs/cgroup (in a container: run it with `--privileged`)
              network  forwarding       `/proc/sys/net` is read-only
                                        cost: the home's bridge can't be set up
                                        hint: mount -o remount,rw /proc/sys (in a container: run it with `--privileged`)

            degraded
              rights   container        in a container (docker)
                                        cost: its manager may hold back mounts, modules, control groups and settings below `/proc/sys`; what it holds back is told by the other checks
                                        hint: run Hornero on the host, or in a virtual machine of its own
              rights   security_module  AppArmor confines the command with `docker-default (enforce)`
                                        cost: the profile may refuse mounts and namespaces
                                        hint: run it outside of the container, or with the profile `unconfined` (`docker run --security-opt apparmor=unconfined`)
              control  boot             no systemd
                                        cost: nothing starts again after a reboot until somebody runs `hornero up`
                                        hint: have this host's init run `hornero serve` at boot, and start it again when it ends
        "#]],
    );
}

#[test]
fn what_is_not_known_is_not_missing() {
    let mut facts = nothing_known();
    facts.control_groups.controllers = ["memory", "cpu", "pids"].map(str::to_owned).into();
    check(
        &facts,
        expect![[r#"
            servers can run here: 3 things are degraded

            degraded
              network  forwarding      no default route
                                       cost: servers and build steps with a way out reach nothing outside
                                       hint: ip route add default via YOUR_ROUTER; then `hornero up` again
              control  boot            no systemd
                                       cost: nothing starts again after a reboot until somebody runs `hornero up`
                                       hint: have this host's init run `hornero serve` at boot, and start it again when it ends
              bake     debian_archive  no apt sources and no keyring of Debian
                                       cost: images with `debian = …` can't be baked from this host's own apt sources
                                       hint: apt install debian-archive-keyring; then write `mirror = "https://<a mirror of Debian>/debian"` and `keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"` in the image
        "#]],
    );
}

#[test]
fn users_and_their_namespaces_are_told_apart() {
    let mut facts = debian_12();
    facts.rights.user = 1000;
    check_one(
        &facts,
        "root",
        expect![[r#"
        missing: user 1000
        > run it with `sudo`"#]],
    );
    facts.rights.user = 0;
    facts.rights.every_id = false;
    check_one(
        &facts,
        "root",
        expect![[r#"
        missing: root of a user namespace
        > run it on the host itself, outside of rootless containers and `unshare --user`"#]],
    );
}

#[test]
fn the_kernel_that_lacks_a_feature_is_told_with_the_way_to_another() {
    let mut facts = debian_12();
    facts.system.kernel = "6.1.0-31-amd64".into();
    let reason = "`loop` is used; `detached`: mount: invalid argument";
    facts.sandbox = vec![
        HostFeature::pass("root", "root of the host", ""),
        HostFeature::degraded("root_way", "roots from the store", reason)
            .costs("a loop device for each instance")
            .remedy("a newer kernel does more of it by itself; nothing has to be done"),
    ];
    check_one(
        &facts,
        "sandbox",
        expect![[r#"
            degraded: Linux 6.1.0-31-amd64: roots from the store: `loop` is used; `detached`: mount: invalid argument
            > a newer kernel does more of it by itself; nothing has to be done"#]],
    );
    facts.sandbox[1] =
        HostFeature::missing("root_way", "roots from the store", "`loop`: no such device")
            .remedy("modprobe loop");
    check_one(
        &facts,
        "sandbox",
        expect![[r#"
            missing: Linux 6.1.0-31-amd64: roots from the store: `loop`: no such device
            > modprobe loop"#]],
    );
}

#[test]
fn modules_are_named_with_what_brings_them() {
    let mut facts = rhel_9();
    facts.modules.insert("overlay", ModuleState::Absent);
    check_one(
        &facts,
        "overlay",
        expect![[r#"
            missing: absent
            > dnf install kernel-modules-extra-5.14.0-427.el9.x86_64 && modprobe overlay"#]],
    );
    facts.system.kernel_modules = Some(false);
    check_one(
        &facts,
        "kernel_modules",
        expect![[r#"
        degraded: none of the running kernel, 5.14.0-427.el9.x86_64
        > reboot"#]],
    );
    facts.modules.insert("loop", ModuleState::Absent);
    facts.system.container = Some("lxc".into());
    check_one(&facts, "loop", expect!["pass: absent"]);
}

#[test]
fn user_namespaces_may_be_held_back() {
    let mut facts = debian_12();
    facts.namespaces.user_max = Some(0);
    check_one(
        &facts,
        "user_namespaces",
        expect![[r#"
            missing: turned off
            > sysctl -w user.max_user_namespaces=65536"#]],
    );
    assert_eq!(first_missing(&facts, Need::Bake).unwrap().id, "user_namespaces");
    facts.namespaces.user_max = Some(100);
    check_one(
        &facts,
        "user_namespaces",
        expect![[r#"
        degraded: at most 100
        > sysctl -w user.max_user_namespaces=65536"#]],
    );
    assert_eq!(told_before(&facts, Need::Bake).len(), 1);
    facts.namespaces.user_max = None;
    facts.namespaces.apparmor_restricts = Some(true);
    check_one(
        &facts,
        "user_namespaces",
        expect!["pass: there; held back from others than root, which costs nothing here"],
    );
}

#[test]
fn control_groups_need_three_controllers() {
    let mut facts = debian_12();
    facts.control_groups.controllers.retain(|name| name != "memory");
    check_one(
        &facts,
        "control_groups",
        expect![[r#"
        missing: version 2 without memory
        > add `cgroup_enable=memory` to the kernel's command line and reboot"#]],
    );
    facts.control_groups.controllers.clear();
    facts.control_groups.description = "no control groups".into();
    check_one(
        &facts,
        "control_groups",
        expect![[r#"
            missing: no control groups
            > mount -t cgroup2 cgroup2 /sys/fs/cgroup"#]],
    );
}

/// The sandbox sees the same: it is told once, by the check that knows what to do.
#[test]
fn missing_controllers_are_told_by_their_own_check() {
    let mut facts = debian_12();
    facts.sandbox.push(HostFeature::missing("memory_limits", "memory limits", "no controller"));
    let first = |facts: &HostFacts| first_missing(facts, Need::Bake).map(|finding| finding.id);
    assert_eq!(first(&facts).as_deref(), Some("sandbox"), "nobody else says it");
    facts.control_groups.controllers.clear();
    assert_eq!(first(&facts).as_deref(), Some("control_groups"));
}

#[test]
fn homes_in_bad_places() {
    let mut facts = debian_12();
    facts.home.obstacle = Some("a file".into());
    check_one(
        &facts,
        "home_path",
        expect![[r#"
        missing: `/var/lib/hornero` is a file
        > `--home` or HORNERO_HOME names another directory"#]],
    );
    facts = debian_12();
    facts.home.fault =
        Some(PathFault { path: "/srv/my home".into(), owner: Some(1000), writable: true });
    check_one(
        &facts,
        "home_owner",
        expect![[r#"
        missing: `/srv/my home` belongs to user 1000, and others may write in it
        > chown root: '/srv/my home' && chmod go-w '/srv/my home'"#]],
    );
    facts.home.fault = None;
    facts.home.faults_above = vec![PathFault { path: "/srv".into(), owner: None, writable: true }];
    check_one(
        &facts,
        "home_owner",
        expect![[r#"
        degraded: others than root may write in `/srv`
        > chmod go-w /srv"#]],
    );
    facts = debian_12();
    facts.home.read_only = true;
    check_one(
        &facts,
        "home_mount",
        expect![[r#"
        missing: `/` is mounted read-only
        > mount -o remount,rw /; where the kernel did it after an error, `dmesg` says which, and the disk needs fsck"#]],
    );
    let kinds =
        [("tmpfs", "degraded"), ("nfs4", "degraded"), ("vfat", "missing"), ("btrfs", "pass")];
    for (kind, state) in kinds {
        facts.home.file_system = Some(kind.into());
        let report = examine(&facts, "0.1.0");
        let finding =
            report.checks.iter().find(|finding| finding.id == "home_file_system").unwrap();
        assert_eq!(word(finding.state), state, "{kind}");
    }
    facts.home.file_system = Some("xfs".into());
    facts.home.entry_kinds = Some(false);
    check_one(
        &facts,
        "home_file_system",
        expect![[r#"
        missing: xfs whose directories do not tell what their entries are (`ftype=0`)
        > make the file system anew (`mkfs.xfs -n ftype=1`), or put the home elsewhere"#]],
    );
}

#[test]
fn space_is_degraded_before_it_is_missing() {
    let space = |bytes: u64, inodes: Option<u64>| {
        let mut facts = debian_12();
        facts.home.free_bytes = Some(bytes);
        facts.home.free_inodes = inodes;
        let report = examine(&facts, "0.1.0");
        let finding = report.checks.iter().find(|finding| finding.id == "home_space").unwrap();
        format!("{}: {}", word(finding.state), finding.observed)
    };
    assert_eq!(space(2 << 30, None), "pass: 2.0 GiB free");
    assert_eq!(space((2 << 30) - 1, None), "degraded: 1.9 GiB free");
    assert_eq!(space(64 << 20, Some(50_000)), "degraded: 64 MiB and 50000 inodes free");
    assert_eq!(space((64 << 20) - 1, Some(50_000)), "missing: 63 MiB and 50000 inodes free");
    assert_eq!(space(9 << 30, Some(999)), "missing: 9.0 GiB and 999 inodes free");
}

#[test]
fn a_clock_that_went_back_is_told() {
    let mut facts = debian_12();
    facts.clock.newest_event = Some(Timestamp(facts.clock.now.0 + 1_000));
    check_one(&facts, "clock", expect!["pass: 2026-11-27T17:20:00.000Z"]);
    facts.clock.newest_event = Some(Timestamp(facts.clock.now.0 + 3_600_000));
    check_one(
        &facts,
        "clock",
        expect![[r#"
        degraded: 2026-11-27T17:20:00.000Z, which is 3600 s before the ledger's newest event
        > timedatectl set-ntp true (with the package systemd-timesyncd or chrony)"#]],
    );
    assert_eq!(told_before(&facts, Need::Run)[0].id, "clock");
    facts.clock = hornero_doctor::ClockFacts { now: Timestamp(5_000), ..facts.clock };
    facts.clock.newest_event = None;
    check_one(
        &facts,
        "clock",
        expect![[r#"
        degraded: 1970-01-01T00:00:05.000Z
        > timedatectl set-ntp true (with the package systemd-timesyncd or chrony)"#]],
    );
}

#[test]
fn control_processes_that_are_not_as_they_should_be() {
    let mut facts = debian_12();
    facts.control = ControlFacts::Stale;
    check_one(
        &facts,
        "control_process",
        expect![[r#"
        degraded: a socket that nobody listens on: the control process was killed
        > hornero up DIR starts one (as a service: systemctl start hornero)"#]],
    );
    facts.control = ControlFacts::Answers {
        version: "0.0.9".into(),
        pid: 7,
        own_version: "0.1.0".into(),
        witness: None,
    };
    check_one(
        &facts,
        "control_process",
        expect![[r#"
        degraded: process 7 of version 0.0.9; this command is 0.1.0
        > where this command is the newer one: hornero upgrade (as a service: systemctl restart hornero)"#]],
    );
}

#[test]
fn networks_that_are_in_the_way() {
    let mut facts = debian_12();
    facts.network.overlaps = vec!["10.64.0.0/10".into()];
    check_one(
        &facts,
        "subnet",
        expect![[r#"
        degraded: 10.112.0.0/16 overlaps 10.64.0.0/10
        > hornero down && hornero up DIR gives the home another subnet; or remove the route (`ip route`)"#]],
    );
    facts.network.bridge_exists = false;
    check_one(
        &facts,
        "subnet",
        expect!["pass: 10.112.0.0/16 overlaps 10.64.0.0/10; the next `up` takes another one"],
    );
    facts.network.subnet = None;
    facts.network.no_subnet = true;
    facts.network.overlaps = vec!["10.0.0.0/8".into()];
    check_one(
        &facts,
        "subnet",
        expect![[r#"
        missing: every /16 from 10.64.0.0 to 10.191.0.0 overlaps 10.0.0.0/8
        > remove or narrow the host's routes into that range (`ip route`)"#]],
    );
    facts = debian_12();
    facts.network.uplinks = vec![("ens3".into(), Some(false)), ("wg0".into(), Some(true))];
    check_one(
        &facts,
        "forwarding",
        expect![[r#"
        degraded: turned off at ens3 since the home was brought up
        > sysctl -w net.ipv4.conf.ens3.forwarding=1"#]],
    );
    facts.network.bridge_exists = false;
    check_one(
        &facts,
        "forwarding",
        expect!["pass: off for the host; a home turns it on where it needs it; out by ens3, wg0"],
    );
    facts.network.uplinks.clear();
    check_one(
        &facts,
        "forwarding",
        expect![[r#"
        degraded: no default route
        > ip route add default via YOUR_ROUTER; then `hornero up` again"#]],
    );
}

#[test]
fn scripts_read_what_people_read() {
    let report = examine(&docker_container(), "0.1.0");
    let value = serde_json::to_value(&report).unwrap();
    assert_eq!(value["servers_run"], false);
    assert_eq!(value["checks"][0]["state"], "missing");
    assert_eq!(serde_json::from_value::<hornero_doctor::DoctorReport>(value).unwrap(), report);
}
