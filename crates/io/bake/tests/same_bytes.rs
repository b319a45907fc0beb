//! Equal inputs give equal digests, whatever the machine: bakes in processes of their own under other clocks, time
//! zones, locales, masks, directories, file systems and numbers of cores.

mod support;

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use hornero_archive::{Archive, Package, dpkg, shell};
use hornero_bake::{BakeContext, BakeOptions, Patience};
use hornero_model::{Digest, ImageName};
use hornero_spec::{Base, CopyOwner, CopySource, SourceKind};
use hornero_store::{Store, Tree};
use support::home::{Heard, Home, chain, debian, image, name};

/// The directory of a bake in a process of its own: `home` and `source` lie in it.
const DIR: &str = "HORNERO_TEST_SAME_DIR";
/// The mirror of the small archive; without it the host's own sources are used.
const MIRROR: &str = "HORNERO_TEST_SAME_MIRROR";
/// Where the key of the small archive is.
const KEYRING: &str = "HORNERO_TEST_SAME_KEYRING";
/// Set where no step can run, since EROFS cannot be mounted from a tmpfs.
const WITHOUT_STEPS: &str = "HORNERO_TEST_SAME_WITHOUT_STEPS";

/// What a script that looks around would see of its machine.
const LOOKS_AROUND: &str = "for file in /usr/share/many/*; do echo \"$file\"; done > /etc/listing\n\
    echo \"$LANG $LC_ALL $TZ $HOME $PWD $PATH $SOURCE_DATE_EPOCH\" > /etc/environs\n\
    mkdir /etc/made; echo made > /etc/made/file; ln -s file /etc/made/link\n\
    cp -p /usr/share/many/B /etc/copied; touch -d @1500000000 /etc/touched; cat /etc/hostname /etc/hosts \
    /proc/sys/kernel/hostname /proc/sys/kernel/domainname > /etc/host";

fn archive() -> Archive {
    let mut many = Package::new("many", "1").postinst(LOOKS_AROUND);
    // Locales disagree about the order of these.
    for file in ["B", "a", "Ä", "_", "b-1", "b 2", "z", "10", "9"] {
        many = many.file(&format!("usr/share/many/{file}"), 0o644, file);
    }
    let plain = (0..40).fold(Package::new("plain", "1"), |package, number| {
        package.file(&format!("usr/share/plain/{number}"), 0o644, format!("{number}\n"))
    });
    Archive::with(&[shell(), dpkg(), many, plain])
}

fn small(home: &mut Home, mirror: &str, keyring: &Path) -> Vec<ImageName> {
    let copy = CopySource {
        from: "public".to_owned(),
        kind: SourceKind::Directory,
        to: "/srv".to_owned(),
        mode: None,
        owner: CopyOwner { user: "www".to_owned(), group: None },
    };
    home.add(image("base", debian(mirror, keyring), &["plain"]));
    let mut pages = image("pages", Base::Image(name("base")), &[]);
    pages.copies = vec![copy];
    home.add(pages);
    let mut site = image("site", Base::Image(name("pages")), &["many"]);
    site.run = vec![format!(
        "mkdir -p /opt; {}",
        LOOKS_AROUND.replace("> /etc/", "> /opt/").replace("/etc/made", "/opt/made")
    )];
    home.add(site);
    match std::env::var_os(WITHOUT_STEPS) {
        Some(_) => vec![name("pages")],
        None => vec![name("site")],
    }
}

fn real(home: &mut Home) -> Vec<ImageName> {
    let text = fs::read_to_string("/etc/os-release").unwrap();
    let suite = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME=")).unwrap();
    let suite = suite.trim_matches('"').to_owned();
    home.add(image("base", Base::Debian { suite, mirror: None, keyring: None }, &[]));
    home.add(image("site", Base::Image(name("base")), &["nginx-light"]));
    vec![name("site")]
}

/// The bake that the other tests run as a process of its own; alone it bakes in a directory of its own.
#[test]
fn bake_in_a_process() {
    let own = tempfile::tempdir().unwrap();
    let dir = std::env::var_os(DIR).map_or_else(|| own.path().to_owned(), PathBuf::from);
    let mut home = Home::at(&dir.join("home"), &dir.join("source"));
    let small_archive = std::env::var(MIRROR).ok();
    let heard = Heard::default();
    let mut context = BakeContext::new(&home.path, &heard);
    context.patience = Patience { answer: Duration::from_secs(60), ..Patience::default() };
    let alone;
    let names = match (&small_archive, std::env::var_os(DIR)) {
        (Some(mirror), _) => {
            small(&mut home, mirror, Path::new(&std::env::var_os(KEYRING).unwrap()))
        }
        (None, Some(_)) => real(&mut home),
        (None, None) => {
            alone = archive();
            fs::create_dir_all(home.source.join("public")).unwrap();
            small(&mut home, alone.path().to_str().unwrap(), &alone.keyring())
        }
    };
    let (spec, source, options) = (&home.spec, &home.source, BakeOptions::default());
    let baked = hornero_bake::bake(&context, &home.store(), spec, source, &names, options);
    let baked = baked.unwrap_or_else(|error| panic!("{}", chain(&error)));
    println!("BAKED {}", baked[0].digest);
}

/// What it is, the programs that a bake runs under, and its environment.
type Condition<'c> = (&'c str, &'c [&'c str], &'c [(&'c str, &'c str)]);

/// A bake in a process of its own.
struct Bake {
    command: Command,
    dir: PathBuf,
}

impl Bake {
    /// In `dir`, under the programs of `wrapper`, each of which runs what follows.
    fn new(dir: &Path, wrapper: &[&str]) -> Self {
        let this = std::env::current_exe().unwrap();
        let own = [this.to_str().unwrap(), "--exact", "bake_in_a_process", "--nocapture"];
        let line: Vec<&str> = wrapper.iter().copied().chain(own).collect();
        let mut command = Command::new(line[0]);
        command.args(&line[1..]).env(DIR, dir).env_remove("LS_COLORS");
        Self { command, dir: dir.to_owned() }
    }

    fn of(mut self, archive: &Archive) -> Self {
        self.command.env(MIRROR, archive.path()).env(KEYRING, archive.keyring());
        self
    }

    fn run(&mut self) -> Digest {
        let output = self.command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let digest = text.lines().find_map(|line| line.split("BAKED ").nth(1));
        let digest = digest.and_then(|digest| digest.trim().parse().ok());
        digest.unwrap_or_else(|| panic!("{text}\n{}", String::from_utf8_lossy(&output.stderr)))
    }

    fn tree(&self, image: &Digest) -> Tree {
        let store = Store::open(self.dir.join("home/store")).unwrap();
        (*store.tree(image).unwrap()).clone()
    }
}

/// Names what differs, where the digests do.
fn compare(label: &str, one: (&Digest, &Tree), other: (&Digest, &Tree)) {
    if one.0 == other.0 {
        return;
    }
    let differing: Vec<String> = Tree::diff(one.1, other.1)
        .iter()
        .map(|change| {
            let entry = change.old.or(change.new).unwrap();
            format!("{} {:?}", entry.path, change.kind)
        })
        .take(20)
        .collect();
    panic!("{label}: {} and {} differ in {differing:#?}", one.0, other.0);
}

/// What is copied: made in the order given, with times and modes of whoever made it.
fn sources(dir: &Path, reversed: bool) {
    let mut files = ["index.html", "a/deep/file", "a/b", "z", "Z", "ä"];
    if reversed {
        files.reverse();
    }
    let public = dir.join("source/public");
    fs::create_dir_all(public.join("a/deep")).unwrap();
    for file in files {
        let path = public.join(file);
        fs::write(&path, file).unwrap();
        let mode = if reversed { 0o600 } else { 0o644 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    symlink("a/b", public.join("link")).unwrap();
}

/// A file system of another kind, mounted for one program alone: `SCRIPT NEWROOT PROGRAM…`.
fn mounted(mount: &str) -> String {
    // Whoever runs in it is the last to see it; the loop device goes with the mount.
    format!(
        "set -e; dir=$1; shift; {mount}; cp -a \"$dir.before/.\" \"$dir\"; \"$@\"; cp -a \"$dir/home/store\" \"$dir.after\""
    )
}

#[test]
fn conditions_of_the_machine_change_no_byte() {
    let archive = archive();
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    sources(&at("first"), false);
    let mut first = Bake::new(&at("first"), &[]).of(&archive);
    let expected = first.run();
    let tree = first.tree(&expected);
    let lock = at("first").join("source/hornero.lock");

    let one_core = ["taskset", "--cpu-list", "0"];
    let later = ["faketime", "-m", "--exclude-monotonic", "-f", "+800d"];
    let earlier = ["faketime", "-m", "--exclude-monotonic", "-f", "-9000d"];
    let masked = ["sh", "-c", "umask 077; exec \"$@\"", "sh"];
    let niced = ["nice", "-n", "5"];
    let names = "echo other > /proc/sys/kernel/hostname; echo example > /proc/sys/kernel/domainname; exec \"$@\"";
    let renamed = ["unshare", "--uts", "sh", "-c", names, "sh"];
    let cases: [Condition<'_>; 9] = [
        ("another directory", &[], &[]),
        ("one core", &one_core, &[]),
        ("a clock ahead", &later, &[("NO_FAKE_STAT", "1")]),
        ("a clock behind", &earlier, &[("NO_FAKE_STAT", "1")]),
        ("a mask", &masked, &[]),
        ("a priority", &niced, &[]),
        ("another name and domain", &renamed, &[]),
        ("a time zone", &[], &[("TZ", "Pacific/Kiritimati")]),
        (
            "a locale and a user",
            &[],
            &[
                ("LC_ALL", "tr_TR.UTF-8"),
                ("LANG", "de_DE.UTF-8"),
                ("HOME", "/nonexistent"),
                ("USER", "somebody"),
                ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
            ],
        ),
    ];
    for (number, (label, wrapper, env)) in cases.into_iter().enumerate() {
        let place = at(&format!("a/longer path/{number}"));
        sources(&place, true);
        fs::copy(&lock, place.join("source/hornero.lock")).unwrap();
        let mut bake = Bake::new(&place, wrapper).of(&archive);
        bake.command.envs(env.iter().copied()).current_dir("/");
        let digest = bake.run();
        compare(label, (&expected, &tree), (&digest, &bake.tree(&digest)));
    }
}

#[test]
fn the_file_system_changes_no_byte() {
    let archive = archive();
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let prepare = |place: &Path| {
        fs::create_dir_all(place).unwrap();
        let before = PathBuf::from(format!("{}.before", place.display()));
        sources(&before, true);
    };
    let compare_on = |label: &str, mount: &str, steps: bool| {
        let plain = at(&format!("{label}-plain"));
        sources(&plain, false);
        let mut first = Bake::new(&plain, &[]).of(&archive);
        let place = at(label);
        prepare(&place);
        let script = mounted(mount);
        let place_text = place.to_str().unwrap();
        let wrapper = ["unshare", "--mount", "sh", "-c", &script, "sh", place_text];
        let mut other = Bake::new(&place, &wrapper).of(&archive);
        if !steps {
            first.command.env(WITHOUT_STEPS, "1");
            other.command.env(WITHOUT_STEPS, "1");
        }
        let (expected, digest) = (first.run(), other.run());
        let store = Store::open(PathBuf::from(format!("{}.after", place.display()))).unwrap();
        let tree = store.tree(&digest).unwrap();
        compare(label, (&expected, &first.tree(&expected)), (&digest, &tree));
    };
    // Blocks, times and the order of names as an old ext2 has them.
    let ext2 = "truncate -s 512M \"$dir.img\"; \
        mkfs.ext4 -q -F -O ^has_journal,^dir_index,^extent,^64bit,^metadata_csum,^huge_file -I 128 -b 1024 \"$dir.img\"; \
        mount -o loop \"$dir.img\" \"$dir\"";
    compare_on("ext2", ext2, true);
    compare_on("tmpfs", "mount -t tmpfs tmpfs \"$dir\"", false);
}

#[test]
fn debian_is_the_same_under_all_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let mut first = Bake::new(&at("first"), &[]);
    let expected = first.run();
    let other = at("elsewhere/and deeper");
    for path in ["source/hornero.lock", "home/cache/packages"] {
        let to = other.join(path);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        let copied = Command::new("cp").arg("-a").arg(at("first").join(path)).arg(&to).status();
        assert!(copied.unwrap().success());
    }
    let wrapper = [
        "sh",
        "-c",
        "umask 077; exec \"$@\"",
        "sh",
        "taskset",
        "--cpu-list",
        "0",
        "faketime",
        "-m",
        "--exclude-monotonic",
        "-f",
        "+400d",
    ];
    let mut second = Bake::new(&other, &wrapper);
    second.command.envs([
        ("NO_FAKE_STAT", "1"),
        ("TZ", "Pacific/Kiritimati"),
        ("LC_ALL", "tr_TR.UTF-8"),
        ("HOME", "/nonexistent"),
        ("USER", "somebody"),
    ]);
    second.command.current_dir("/");
    let digest = second.run();
    compare("Debian", (&expected, &first.tree(&expected)), (&digest, &second.tree(&digest)));
}
