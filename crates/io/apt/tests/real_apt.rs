//! Against the apt of this machine: the same archives and preferences give the same candidates.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::PathBuf,
    process::Command,
};

use hornero_apt::{
    access::Access,
    archive_state::Seen,
    fetch::Patience,
    policy::Policy,
    progress::ArchiveEvent,
    sources_list::ArchiveRequest,
    universe::{Universe, listed},
};
use hornero_archive::{Archive, Package, architecture};

const NAMES: [&str; 6] = ["alpha", "alpha-data", "beta", "libgamma", "libgamma-dev", "delta"];
const SUITES: [&str; 4] = ["test", "test-security", "test-backports", "test-third"];
const VERSIONS: [&str; 7] = ["1.0-1", "1.0-1+b1", "1.1~rc1", "1.1", "2:0.5", "20", "1.0-1~bpo12"];

/// One seed, one sequence.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % limit as u64).unwrap()
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    fn once_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

/// A host whose apt has its own root: sources, preferences and lists.
struct Host {
    root: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for dir in [
            "etc/apt/apt.conf.d",
            "etc/apt/preferences.d",
            "etc/apt/sources.list.d",
            "etc/apt/trusted.gpg.d",
            "var/lib/apt/lists/partial",
            "var/cache/apt/archives/partial",
        ] {
            fs::create_dir_all(root.path().join(dir)).unwrap();
        }
        let host = Self { root };
        host.write("status", "");
        let root = host.root.path().display();
        let configuration = format!(
            "Dir \"{root}\";\nDir::State::status \"{root}/status\";\nAPT::Sandbox::User \"root\";\n\
             APT::Architecture \"{0}\";\nAPT::Architectures {{ \"{0}\"; }};\nAcquire::Languages \"none\";\n",
            architecture()
        );
        host.write("apt.conf", &configuration);
        host
    }

    fn write(&self, path: &str, text: &str) {
        fs::write(self.root.path().join(path), text).unwrap();
    }

    fn apt_dir(&self) -> PathBuf {
        self.root.path().join("etc/apt")
    }

    fn run(&self, program: &str, arguments: &[&str]) -> (bool, String) {
        let output = Command::new(program)
            .args(arguments)
            .env("APT_CONFIG", self.root.path().join("apt.conf"))
            .env("LC_ALL", "C.UTF-8")
            .output()
            .unwrap();
        let text =
            String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), text)
    }

    /// What apt would install, by name.
    fn candidates(&self) -> BTreeMap<String, String> {
        let (done, text) = self.run("apt-get", &["-qq", "update"]);
        assert!(done, "{text}");
        let (done, text) = self.run("apt-cache", &[&["policy"], &NAMES[..]].concat());
        assert!(done, "{text}");
        let mut found = BTreeMap::new();
        let mut name = "";
        for line in text.lines() {
            if let Some(of) = line.strip_suffix(':').filter(|of| !of.starts_with(' ')) {
                name = of;
            } else if let Some(version) = line.trim().strip_prefix("Candidate: ")
                && version != "(none)"
            {
                found.insert(name.to_owned(), version.to_owned());
            }
        }
        found
    }

    /// What we would install, by name; or why nothing.
    fn ours(&self) -> Result<BTreeMap<String, String>, String> {
        let heard = |_: ArchiveEvent| ();
        let cache = self.root.path().join("cache");
        let access =
            Access::open(&cache, &self.apt_dir(), Patience::default(), Box::new(heard)).unwrap();
        let request = ArchiveRequest {
            suite: "test".to_owned(),
            mirror: None,
            keyring: None,
            archives: Vec::new(),
        };
        let shown = |error: hornero_apt::AptError| error.to_string();
        let suites = access.load(&request, architecture(), &Seen::default()).map_err(shown)?;
        let policy: Policy = access.policy(&request).map_err(shown)?;
        let listed = listed(&suites, architecture()).map_err(shown)?;
        let universe = Universe::new(listed, &policy, &HashMap::new(), &[]);
        let candidates = universe.ids().map(|id| universe.get(id).stanza);
        Ok(candidates.map(|one| (one.name.to_owned(), one.version.to_owned())).collect())
    }
}

fn source(archive: &Archive, options: &str, suite: &str) -> String {
    let keyring = archive.keyring();
    format!(
        "deb [signed-by={} {options}] file:{} {suite} main\n",
        keyring.display(),
        archive.path().display()
    )
}

fn some_archives(dice: &mut Dice) -> Vec<Archive> {
    let mut archives = Vec::new();
    for _ in 0..1 + dice.below(2) {
        let mut archive = Archive::temporary();
        for suite in SUITES {
            if suite != "test" && dice.once_in(3) {
                continue;
            }
            for name in NAMES {
                if !dice.once_in(3) {
                    let mut package = Package::new(name, dice.pick(&VERSIONS));
                    if dice.once_in(3) {
                        package = package.source(dice.pick(&["alpha", "gamma (3)"]));
                    }
                    archive.put_into(suite, package);
                }
            }
            archive.release_field(suite, "Codename", suite);
            archive.release_field(suite, "Suite", dice.pick(&["stable", "testing", suite]));
            archive.release_field(suite, "Origin", dice.pick(&["Debian", "Node Source"]));
            archive.release_field(suite, "Label", dice.pick(&["Debian", "Backports"]));
            archive.release_field(suite, "Version", dice.pick(&["12", "12.4", "13"]));
            if dice.once_in(3) {
                archive.release_field(suite, "NotAutomatic", "yes");
                if dice.once_in(2) {
                    archive.release_field(suite, "ButAutomaticUpgrades", "yes");
                }
            }
        }
        archive.publish();
        archives.push(archive);
    }
    archives
}

fn some_preferences(dice: &mut Dice) -> String {
    let mut text = String::new();
    for _ in 0..dice.below(5) {
        let package = dice.pick(&[
            "*",
            "*",
            "alpha",
            "alpha beta",
            "lib*",
            "src:alpha",
            "/^lib/",
            "src:gam*",
            "alpha:i386",
            "*a",
            "beta:any",
            "/DATA$/",
            "libgamma-[a-d]ev",
            "none",
        ]);
        let pin = dice.pick(&[
            "release a=stable",
            "release n=test-backports",
            "release o=Debian",
            "release l=Backports",
            "release o=Node Source, a=testing",
            "release v=12",
            "release v=12*",
            "release c=main",
            "release stable",
            "release test-third",
            "release *",
            "release b=amd64",
            "release c=other",
            "origin \"\"",
            "origin \"nowhere.test\"",
            "version 1.1",
            "version 1.*",
            "version 2:*",
            "version *",
            "version /rc/",
            "release a=s*e",
            "release n=/back/",
            "release 13",
        ]);
        if package == "*" && pin.starts_with("version") {
            continue;
        }
        let priorities = ["never", "100", "500", "501", "990", "1001", "-1", "-10", "1", "50"];
        let priority = dice.pick(&priorities[usize::from(package != "*")..]);
        text.push_str(&format!(
            "Explanation: x\nPackage: {package}\nPin: {pin}\nPin-Priority: {priority}\n\n"
        ));
    }
    text
}

#[test]
fn candidates_are_those_of_apt() {
    let cases = std::env::var("HORNERO_APT_CASES").map_or(20, |text| text.parse().unwrap());
    let first: u64 = std::env::var("HORNERO_APT_SEED").map_or(1, |text| text.parse().unwrap());
    for seed in first..first + cases {
        let mut dice = Dice(seed);
        let archives = some_archives(&mut dice);
        let host = Host::new();
        let mut sources = String::new();
        for archive in &archives {
            for suite in SUITES {
                if archive.path().join("dists").join(suite).exists() {
                    sources.push_str(&source(archive, "", suite));
                }
            }
        }
        host.write("etc/apt/sources.list", &sources);
        let preferences = some_preferences(&mut dice);
        host.write("etc/apt/preferences.d/pins", &preferences);
        let mut configuration = String::new();
        if dice.once_in(4) {
            let release = dice.pick(&["test", "t*t", "/^TEST$/"]);
            configuration = format!("APT {{ Default-Release \"{release}\"; }};\n");
        }
        host.write("etc/apt/apt.conf.d/50release", &configuration);
        assert_eq!(
            host.ours().unwrap(),
            host.candidates(),
            "seed {seed}\n{preferences}\n{configuration}"
        );
    }
}

/// Whether apt and we take an archive by one line of sources, and that both agree.
fn check_taken(host: &Host, sources: &str, expected: bool) {
    host.write("etc/apt/sources.list", sources);
    let _ = fs::remove_dir_all(host.root.path().join("var/lib/apt/lists"));
    fs::create_dir_all(host.root.path().join("var/lib/apt/lists/partial")).unwrap();
    let (_, text) = host.run("apt-get", &["update"]);
    let (_, policy) = host.run("apt-cache", &["policy", "alpha"]);
    let theirs = policy.contains("Candidate: 1") && !text.contains("not signed");
    assert_eq!(theirs, expected, "apt, of {sources}\n{text}\n{policy}");
    let ours = host.ours();
    let taken = ours.as_ref().is_ok_and(|found| found.contains_key("alpha"));
    assert_eq!(taken, expected, "we, of {sources}\n{ours:?}");
}

fn detached(archive: &Archive) {
    let dir = archive.path().join("dists/test");
    fs::rename(dir.join("InRelease"), dir.join("InRelease.away")).unwrap();
    let text = archive.release_text();
    fs::write(dir.join("Release"), &text).unwrap();
    fs::write(dir.join("Release.gpg"), archive.signer().sign_detached(text.as_bytes())).unwrap();
}

#[test]
fn archives_are_taken_where_apt_takes_them() {
    let host = Host::new();
    let archive = Archive::with(&[Package::new("alpha", "1")]);
    let line = |options: &str| source(&archive, options, "test");
    check_taken(&host, &line(""), true);
    for (options, expected) in [
        (format!("arch={}", architecture()), true),
        (format!("arch=i386,{}", architecture()), true),
        ("arch=i386".to_owned(), false),
        (format!("arch-={}", architecture()), false),
        ("arch+=i386".to_owned(), true),
        ("trusted=yes".to_owned(), true),
        ("check-date=no".to_owned(), true),
    ] {
        check_taken(&host, &line(&options), expected);
    }
    check_taken(&host, &line("").replace("file:", "copy:"), true);
    let fingerprint = archive.signer().fingerprint();
    fs::copy(archive.keyring(), host.apt_dir().join("trusted.gpg.d/test.asc")).unwrap();
    let by =
        |key: &str| format!("deb [signed-by={key}] file:{} test main\n", archive.path().display());
    check_taken(&host, &by(&fingerprint), true);
    check_taken(&host, &by(&"0".repeat(40)), false);

    detached(&archive);
    check_taken(&host, &line(""), true);
    let signature = archive.path().join("dists/test/Release.gpg");
    let good = fs::read(&signature).unwrap();
    fs::write(&signature, archive.signer().sign_detached(b"another text")).unwrap();
    check_taken(&host, &line(""), false);
    fs::write(&signature, &good).unwrap();
    check_taken(&host, &line(""), true);
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

#[test]
fn the_age_of_an_index_is_judged_as_apt_does() {
    let host = Host::new();
    for (date, valid_for, options, expected) in [
        (now() - 60, None, "", true),
        (now() + 3_600, None, "", false),
        (now() + 3_600, None, "check-date=no", true),
        (now() + 3_600, None, "date-max-future=7200", true),
        (now() - 7_200, Some(-60), "", false),
        (now() - 7_200, Some(-60), "check-valid-until=no", true),
        (now() - 7_200, Some(-60), "check-date=no", true),
        (now() - 7_200, Some(-60), "valid-until-min=86400", true),
        (now() - 7_200, None, "valid-until-max=3600", false),
        (now() - 7_200, Some(60), "valid-until-max=3600", false),
    ] {
        let mut archive = Archive::temporary();
        archive.put(Package::new("alpha", "1"));
        archive.valid_for = valid_for;
        archive.publish_at(date);
        check_taken(&host, &source(&archive, options, "test"), expected);
    }
}

#[test]
fn a_suite_named_by_age_is_the_one_that_its_index_says() {
    let mut archive = Archive::temporary();
    archive.put_into("stable", Package::new("alpha", "1"));
    archive.put_into("oldstable", Package::new("alpha", "0"));
    for (suite, codename) in [("stable", "test"), ("oldstable", "older")] {
        archive.release_field(suite, "Codename", codename);
    }
    archive.publish();
    let host = Host::new();
    check_taken(&host, &source(&archive, "", "stable"), true);
    host.write("etc/apt/sources.list", &source(&archive, "", "oldstable"));
    assert!(host.ours().unwrap_err().contains("no apt source for suite `test`"));
    let both = source(&archive, "", "stable") + &source(&archive, "", "oldstable");
    check_taken(&host, &both, true);
}

#[test]
fn trust_of_the_operator_does_not_take_the_place_of_a_signature() {
    let host = Host::new();
    let archive = Archive::with(&[Package::new("alpha", "1")]);
    fs::write(archive.in_release(), archive.release_text()).unwrap();
    fs::rename(archive.in_release(), archive.path().join("dists/test/Release")).unwrap();
    host.write("etc/apt/sources.list", &source(&archive, "trusted=yes", "test"));
    let refused = host.ours().unwrap_err();
    assert!(refused.contains("it is not signed; `trusted=yes`"), "{refused}");
    host.write("etc/apt/sources.list", &source(&archive, "", "test"));
    assert!(host.ours().unwrap_err().ends_with("is refused: it is not signed"));
}

#[test]
fn what_is_left_out_is_told() {
    let host = Host::new();
    let archive = Archive::with(&[Package::new("alpha", "1")]);
    let sources = source(&archive, "", "test")
        + &source(&archive, "", "nodistro")
        + "deb http://nowhere.test/flat ./\ndeb [arch=none] http://nowhere.test test main\n"
        + "deb cdrom:[x]/ test main\n";
    host.write("etc/apt/sources.list", &sources);
    let heard = std::sync::Mutex::new(Vec::new());
    let tell = |event: ArchiveEvent| {
        if let ArchiveEvent::LeftOut { archive, reason } = event {
            heard.lock().unwrap().push(format!("{archive}: {reason}"));
        }
    };
    let cache = host.root.path().join("cache");
    let access =
        Access::open(&cache, &host.apt_dir(), Patience::default(), Box::new(tell)).unwrap();
    let request = ArchiveRequest {
        suite: "test".to_owned(),
        mirror: None,
        keyring: None,
        archives: Vec::new(),
    };
    access.load(&request, architecture(), &Seen::default()).unwrap();
    let heard = heard.lock().unwrap().join("\n");
    for part in [
        "nodistro: it is of another suite",
        "./: it says of no suite",
        "other architectures",
        "only `http:`",
    ] {
        assert!(heard.contains(part), "{part}\n{heard}");
    }
    assert_eq!(heard.lines().count(), 4, "{heard}");
}

#[test]
fn preferences_that_cannot_be_read_are_not_skipped() {
    let host = Host::new();
    let archive = Archive::with(&[Package::new("alpha", "1")]);
    host.write("etc/apt/sources.list", &source(&archive, "", "test"));
    for (text, expected) in [
        ("Pin: release a=x\nPin-Priority: 1\n", "no `Package`"),
        ("Package: alpha\nPin: version 1\n", "`` is no `Pin-Priority`"),
        ("Package: alpha\nPin: version 1\nPin-Priority: 0\n", "`0` is no"),
        ("Package: alpha\nPin: version 1\nPin-Priority: never\n", "for `Package: *` alone"),
        ("Package: alpha\nPin: moon 1\nPin-Priority: 5\n", "`moon` is no kind"),
    ] {
        host.write("etc/apt/preferences", text);
        let error = host.ours().unwrap_err();
        assert!(error.contains(expected) && error.contains("preferences"), "{error}");
    }
}
