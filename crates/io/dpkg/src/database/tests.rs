//! What dpkg is told of new packages, and whose triggers they set off.

use hornero_store::{Entry, EntryKind, TreePath};

use super::*;

fn facts(name: &str, triggers: &str, scripts: &[&str]) -> PackageFacts {
    PackageFacts {
        name: name.to_owned(),
        control: format!("Package: {name}\nVersion: 1\nDescription: x\n y\n"),
        conffiles: vec![("/etc/x".to_owned(), "0".repeat(32))],
        triggers: triggers.to_owned(),
        scripts: scripts.iter().map(|script| (*script).to_owned()).collect(),
        info_name: name.to_owned(),
    }
}

fn layer(paths: &[&str]) -> Layer {
    let entries = paths.iter().map(|path| Entry {
        path: TreePath::new(*path).unwrap(),
        kind: EntryKind::Fifo,
        metadata: Default::default(),
    });
    Layer::from_entries(entries.collect()).unwrap()
}

#[test]
fn a_package_without_scripts_is_installed_at_once() {
    let (one, layer) = (facts("one", "", &[]), layer(&["x"]));
    let new = [NewPackage { facts: &one, layer: &layer, held: false }];
    assert!(!needs_configuring(&Existing::default(), &new));
    let made = database(&Existing::default(), &new, State::Installed);
    let status = &made.files["var/lib/dpkg/status"];
    assert!(status.contains("Status: install ok installed\nVersion: 1\n"), "{status}");
    assert!(status.contains("Conffiles:\n /etc/x 0000"), "{status}");
    assert!(!is_unfinished(status));
}

#[test]
fn a_configuration_file_that_waits_is_a_new_one() {
    let (one, layer) = (facts("one", "", &["postinst"]), layer(&["etc/x"]));
    let new = [NewPackage { facts: &one, layer: &layer, held: true }];
    assert!(needs_configuring(&Existing::default(), &new));
    let made = database(&Existing::default(), &new, State::Unpacked);
    let status = &made.files["var/lib/dpkg/status"];
    assert!(status.contains("Status: install ok unpacked\n"), "{status}");
    assert!(status.contains("Conffiles:\n /etc/x newconffile\n"), "{status}");
    assert!(is_unfinished(status));
}

#[test]
fn new_files_wake_the_triggers_of_installed_packages() {
    let existing = Existing {
        status: "Package: libc-bin\nStatus: install ok installed\nVersion: 1\n\n\
                 Package: man-db\nStatus: install ok triggers-awaited\nTriggers-Pending: /old\n\n\
                 Package: hooks\nStatus: install ok installed\n\n\
                 Package: waiting\nStatus: install ok unpacked\n\n"
            .to_owned(),
        file_triggers: "/usr/share/man man-db/noawait\n/lib/x hooks\n/usr/share waiting\n"
            .to_owned(),
        named_triggers: [("ldconfig".to_owned(), "libc-bin/noawait\n".to_owned())].into(),
        ..Existing::default()
    };
    let new = facts("lib", "activate-noawait ldconfig\ninterest /opt\n", &[]);
    let layer = layer(&["usr/lib/x/y", "usr/share/man/z", "usr/share/mango"]);
    let new = [NewPackage { facts: &new, layer: &layer, held: false }];
    assert!(needs_configuring(&existing, &new));
    let made = database(&existing, &new, State::Unpacked);
    let status = &made.files["var/lib/dpkg/status"];
    for part in [
        "Status: install ok triggers-pending\nVersion: 1\nTriggers-Pending: ldconfig\n",
        "Status: install ok triggers-awaited\nTriggers-Pending: /old /usr/share/man\n",
        "Package: hooks\nStatus: install ok triggers-pending\nTriggers-Pending: /lib/x\n",
        "Package: waiting\nStatus: install ok unpacked\n\n",
        "Package: lib\nStatus: install ok unpacked\n",
        "Triggers-Awaited: hooks\n",
    ] {
        assert!(status.contains(part), "{part}, not in: {status}");
    }
    assert_eq!(made.pending, ["hooks", "libc-bin", "man-db"]);
    assert!(made.files["var/lib/dpkg/triggers/File"].contains("/opt lib\n"));
}
