//! Storage and transfer for successive patched states of one image, beside Docker's layers.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, anyhow, ensure};
use flate2::{Compression, write::GzEncoder};
use hornero_archive::{Archive, Package, SUITE};
use hornero_bake::{
    BakeContext, BakeOptions, LockMode, progress::Silent, sources::DirectorySources,
};
use hornero_export::{ExportOptions, Format};
use hornero_model::{Digest, ImageName};
use hornero_oci::{Access, Pulled, Pushed, Quiet, Reference};
use hornero_spec::{Spec, Variables};
use hornero_store::Store;

use crate::{
    Setting,
    docker::Docker,
    peers,
    process::{self, Server},
    table::{Better, HORNERO, Table},
};

const STORED: &str = "stored where the images are built";
const REGISTRY: &str = "stored in the registry";
const PUSHED: &str = "pushed to the registry";
const PULLED: &str = "pulled by a server that pulls every state";
const PATCHES: &str = "of that, after the first state";
const ONE_FIX: &str = "pulled for one fix, by compressed size of its changed files";
/// Docker with a base that is built anew for every state.
const ANEW: &str = "docker, base built anew";
/// Docker with upgrades in a layer on a base that stays.
const UPGRADED: &str = "docker, upgrades in a layer on the first base";

/// Packages of a Debian root, each patched in turn.
const PACKAGES: [&str; 24] = [
    "libc6",
    "bash",
    "libssl3",
    "coreutils",
    "tar",
    "perl-base",
    "gzip",
    "dpkg",
    "zlib1g",
    "util-linux",
    "grep",
    "login",
    "libstdc++6",
    "sed",
    "passwd",
    "libsystemd0",
    "findutils",
    "apt",
    "e2fsprogs",
    "libapt-pkg6.0",
    "debianutils",
    "mount",
    "diffutils",
    "libgnutls30",
];
/// The note that says which build a program is of, up to its twenty bytes.
const BUILD_ID: &[u8] = b"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0";

pub fn measure(setting: &Setting) -> Result<Table> {
    peers::install(peers::CONTAINERS)?;
    peers::install(&[("docker-registry", "takes what is pushed")])?;
    let directory = setting.scratch.join("transfer");
    fs::create_dir_all(&directory)?;
    let mut table = Table::new("Transfer: successive patched states of one image");
    let mut history = History::new(&directory)?;
    let theirs = Theirs::start(&directory)?;
    let mut ours = Ours::start(&directory)?;
    let mut anew = Moved::default();
    for number in 0..=setting.states {
        eprintln!("bench: state {number} of {}", setting.states);
        let image = history.bake(number)?;
        let changed = history.changed_bytes(number)?;
        if !setting.peers_only {
            let pulled = ours.publish(&history.store, &image, number)?;
            if number > 0 {
                table.add(ONE_FIX, "×", Better::Less, HORNERO, pulled as f64 / changed as f64);
            }
        }
        let moved = anew.add(&theirs.anew, number, || theirs.publish_anew(&history, number))?;
        if number > 0 {
            table.add(ONE_FIX, "×", Better::Less, ANEW, moved as f64 / changed as f64);
        }
    }
    if !setting.peers_only {
        ours.report(&mut table, &history.store)?;
    }
    let stored_anew = theirs.data_bytes()?;
    anew.report(&mut table, ANEW, stored_anew, &theirs.anew)?;
    let (upgraded, first_bytes) = theirs.publish_upgraded(&mut table, &history, setting.states)?;
    // The daemon has the first state from before: the two ways share it.
    let stored = theirs.data_bytes()? - stored_anew + first_bytes;
    upgraded.report(&mut table, UPGRADED, stored, &theirs.upgraded)?;
    table.remark(format!(
        "A first state and {} further ones, each with one of {} packages of this machine built again: the build ids of \
         its programs and libraries, its changelog and its version change, all other files stay. Stored and pushed bytes \
         are file lengths and bodies, counted once whatever `--runs` says. Hornero bakes each state from a \
         signed archive; its store is counted with records, facts and the cache of steps, and the compressed layers beside it; fetched package files are counted for nobody.",
        setting.states,
        PACKAGES.len(),
    ));
    table.remark(
        "Docker gets the same roots. Base built anew: `docker import` of each, one layer, as after `docker build --pull \
         --no-cache` on a base that was published again. Upgrades in a layer: the first root, and on it one layer with \
         all packages that were upgraded since, whole, and dpkg's status, as `apt-get upgrade` in a Dockerfile makes it. \
         Docker's pushes are counted by what the registry's disk grew, its pulls as the same bytes: it pulls whole \
         layers. A fix's changed files are those contents that the state before did not have, each compressed by gzip \
         at its default level; dpkg's database is among them.",
    );
    Ok(table)
}

/// The image's states, baked one after the other from an archive whose packages are patched.
struct History {
    archive: Archive,
    packages: Vec<Package>,
    home: PathBuf,
    project: PathBuf,
    spec: Spec,
    store: Store,
    images: Vec<Digest>,
}

impl History {
    fn new(directory: &Path) -> Result<Self> {
        let packages = PACKAGES.iter().map(|name| installed(name)).collect::<Result<Vec<_>>>()?;
        let mut archive = Archive::new(&directory.join("archive"));
        for package in &packages {
            archive.put(package.clone());
        }
        let (project, home) = (directory.join("project"), directory.join("home"));
        fs::create_dir_all(&project)?;
        fs::create_dir_all(&home)?;
        let text = format!(
            "image \"app\" {{\n  debian   = \"{SUITE}\"\n  mirror   = \"file://{}\"\n  keyring  = \"{}\"\n  packages = {PACKAGES:?}\n}}\n",
            archive.path().display(),
            archive.keyring().display(),
        );
        let sources = DirectorySources::new(&project);
        let spec = hornero_spec::parse("hornero.hcl", text.as_bytes(), &Variables::new(), &sources)
            .map_err(|errors| anyhow!("{}", errors.render(false)))?;
        let store = Store::open(home.join("store"))?;
        Ok(Self { archive, packages, home, project, spec, store, images: Vec::new() })
    }

    /// Bakes the next state: the first has the packages as they are, each further one patches one of them.
    fn bake(&mut self, number: usize) -> Result<Digest> {
        if number > 0 {
            let package = &mut self.packages[(number - 1) % PACKAGES.len()];
            patch(package, number)?;
            self.archive.put(package.clone());
        }
        self.archive.publish();
        let context = BakeContext::new(&self.home, &Silent);
        let lock = hornero_bake::lock(&context, &self.spec, &self.project, LockMode::Update)?;
        lock.write(&self.project)?;
        let names = [ImageName::new("app")?];
        let options = BakeOptions::default();
        let baked =
            hornero_bake::bake(&context, &self.store, &self.spec, &self.project, &names, options)?;
        let image = baked.first().context("a bake gives its image")?.digest;
        ensure!(!self.images.contains(&image), "state {number} is no new image");
        self.images.push(image);
        Ok(image)
    }

    /// Compressed size of the contents that a state has and the one before does not.
    fn changed_bytes(&self, number: usize) -> Result<u64> {
        let contents = |number: usize| -> Result<BTreeSet<Digest>> {
            let tree = self.store.tree(&self.images[number])?;
            Ok(tree.contents().map(|(digest, _)| digest).collect())
        };
        let before = if number == 0 { BTreeSet::new() } else { contents(number - 1)? };
        let mut bytes = 0;
        for digest in contents(number)?.difference(&before) {
            bytes += gzip(&self.store.read_object(digest)?)?.len() as u64;
        }
        Ok(bytes)
    }

    /// Packages that were patched up to a state, as they are now.
    fn upgraded(&self, number: usize) -> &[Package] {
        &self.packages[..number.min(PACKAGES.len())]
    }
}

/// A package of this machine with the files it has here, without relations and scripts.
fn installed(name: &str) -> Result<Package> {
    let mut package = Package::new(name, "1");
    package.files.clear();
    let listed = process::read("dpkg-query", &["-L", name])?;
    let mut added = BTreeSet::new();
    for path in listed.lines().filter(|path| path.len() > 2) {
        // Where the root is merged, packages name some files by links.
        let path = Path::new(path);
        let (Some(parent), Some(file)) = (path.parent(), path.file_name()) else { continue };
        // Not everything that a package lists is there: documentation may be left out.
        let Ok(real) = parent.canonicalize().map(|parent| parent.join(file)) else { continue };
        let Ok(metadata) = fs::symlink_metadata(&real) else { continue };
        let inside = real.to_str().context("a path is no text")?.trim_start_matches('/');
        if !added.insert(inside.to_owned()) {
            continue;
        }
        if metadata.is_symlink() {
            let target = fs::read_link(&real)?;
            package = package.link(inside, target.to_str().context("a link is no text")?);
        } else if metadata.is_file() {
            let mode = metadata.permissions().mode() & 0o7777;
            package = package.file(inside, mode, fs::read(&real)?);
        }
    }
    ensure!(!package.files.is_empty(), "package `{name}` has no files on this machine");
    if name == "bash" {
        package = package.essential().link("usr/bin/sh", "bash");
        package = package.file("etc/passwd", 0o644, "root:x:0:0::/root:/bin/sh\n");
        package = package.file("etc/group", 0o644, "root:x:0:\n");
    }
    Ok(package)
}

/// Gives a package what a fix changes at the least: its version, its changelog, and the build ids of its programs.
fn patch(package: &mut Package, number: usize) -> Result<()> {
    package.version = format!("{}", number + 1);
    let entry = format!("{} ({}) stable; urgency=high\n", package.name, package.version);
    // Beside the package's own, whose directory may be a symlink.
    let changelog = format!("usr/share/changes/{}.gz", package.name);
    let id = Digest::of(entry.as_bytes());
    let mut found = false;
    for (path, mode, bytes) in &mut package.files {
        if *path == changelog && *mode != 0 {
            // Readers join members.
            *bytes = [gzip(entry.as_bytes())?, std::mem::take(bytes)].concat();
            found = true;
        } else if *mode != 0 && bytes.starts_with(b"\x7fELF") {
            let note = bytes.windows(BUILD_ID.len()).position(|window| window == BUILD_ID);
            match note.map(|at| at + BUILD_ID.len()) {
                Some(at) if at + 20 <= bytes.len() => {
                    bytes[at..at + 20].copy_from_slice(&id.hex().as_bytes()[..20]);
                }
                _ => bytes.extend_from_slice(&id.hex().as_bytes()[..20]),
            }
        }
    }
    if !found {
        package.files.push((changelog, 0o644, gzip(entry.as_bytes())?));
    }
    Ok(())
}

/// Packed as `gzip` does by default.
fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

/// Debian's registry on loopback, with a directory of its own; it ends when it is dropped.
struct Registry {
    _server: Server,
    address: String,
    data: PathBuf,
}

impl Registry {
    fn start(directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory)?;
        let (config, data) = (directory.join("config.yml"), directory.join("data"));
        let address = process::free_address()?;
        fs::write(
            &config,
            format!(
                "version: 0.1\nlog:\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    \
                 rootdirectory: {}\nhttp:\n  addr: {address}\n  secret: bench\n",
                data.display()
            ),
        )?;
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config).env("OTEL_TRACES_EXPORTER", "none");
        let mut server = Server::start("docker-registry", &mut command, &directory.join("log"))?;
        server.wait_for(address)?;
        Ok(Self { _server: server, address: address.to_string(), data })
    }

    fn name(&self, number: usize) -> String {
        format!("{}/app:{number}", self.address)
    }

    fn bytes(&self) -> Result<u64> {
        bytes_below(&self.data)
    }
}

/// Bytes of one contestant's pushes, as its registry grew.
#[derive(Default)]
struct Moved {
    all: u64,
    patches: u64,
}

impl Moved {
    /// Publishes a state; gives the bytes it moved.
    fn add(
        &mut self,
        registry: &Registry,
        number: usize,
        publish: impl FnOnce() -> Result<()>,
    ) -> Result<u64> {
        publish()?;
        let grown = registry.bytes()? - self.all;
        ensure!(grown > 0, "state {number} moved nothing");
        self.all += grown;
        self.patches += if number > 0 { grown } else { 0 };
        Ok(grown)
    }

    fn report(&self, table: &mut Table, who: &str, stored: u64, registry: &Registry) -> Result<()> {
        row(table, STORED, who, stored);
        row(table, REGISTRY, who, registry.bytes()?);
        for what in [PUSHED, PULLED] {
            row(table, what, who, self.all);
            row(table, &format!("{what}: {PATCHES}"), who, self.patches);
        }
        Ok(())
    }
}

fn row(table: &mut Table, what: &str, who: &str, bytes: u64) {
    table.add(what, "MB", Better::Less, who, bytes as f64 / 1e6);
}

/// A registry and a server that pulls every state.
struct Ours {
    registry: Registry,
    server: Store,
    cache: PathBuf,
    /// Every state's bytes out and in.
    moved: Vec<(u64, u64)>,
}

impl Ours {
    fn start(directory: &Path) -> Result<Self> {
        Ok(Self {
            registry: Registry::start(&directory.join("registry"))?,
            server: Store::open(directory.join("server"))?,
            cache: directory.join("layers"),
            moved: Vec::new(),
        })
    }

    /// Pushes a state and pulls it on the server; gives the bytes that the server got.
    fn publish(&mut self, store: &Store, image: &Digest, number: usize) -> Result<u64> {
        let reference: Reference = self.registry.name(number).parse()?;
        let access = Access::anonymous();
        let options = hornero_oci::ExportOptions {
            cache: Some(self.cache.clone()),
            ..hornero_oci::ExportOptions::default()
        };
        let Pushed { bytes_moved: out, .. } =
            hornero_oci::push(store, image, &reference, &access, &options, None, &Quiet)?;
        let Pulled { image: pulled, bytes_moved: bytes_in, .. } =
            hornero_oci::pull(&self.server, &reference, &access, &Quiet)?;
        ensure!(pulled == *image, "the server has `{pulled}` instead of `{image}`");
        self.moved.push((out, bytes_in));
        Ok(bytes_in)
    }

    fn report(&self, table: &mut Table, store: &Store) -> Result<()> {
        let disk = store.disk_use()?;
        // Layers that were compressed for the registry lie beside the store.
        row(table, STORED, HORNERO, disk.disk_bytes() + bytes_below(&self.cache)?);
        row(table, REGISTRY, HORNERO, self.registry.bytes()?);
        let sum = |from: usize| {
            let states = self.moved[from..].iter();
            states.fold((0, 0), |(out, bytes_in), state| (out + state.0, bytes_in + state.1))
        };
        for (from, suffix) in [(0, String::new()), (1, format!(": {PATCHES}"))] {
            let (out, bytes_in) = sum(from);
            row(table, &format!("{PUSHED}{suffix}"), HORNERO, out);
            row(table, &format!("{PULLED}{suffix}"), HORNERO, bytes_in);
        }
        table.remark(format!(
            "Of what Hornero stores where it bakes, contents of images are {:.1} MB and layers that were compressed for \
             the registry {:.1} MB; the server's store, without either cache, takes {:.1} MB.",
            disk.total.bytes as f64 / 1e6,
            bytes_below(&self.cache)? as f64 / 1e6,
            self.server.disk_use()?.disk_bytes() as f64 / 1e6,
        ));
        Ok(())
    }
}

/// Docker, with a registry for each of the two ways to make patched images.
struct Theirs {
    docker: Docker,
    anew: Registry,
    upgraded: Registry,
    directory: PathBuf,
    /// What the daemon's data took before.
    empty_bytes: u64,
}

impl Theirs {
    fn start(directory: &Path) -> Result<Self> {
        let docker = Docker::start(directory)?;
        let empty_bytes = bytes_below(&directory.join("docker/data"))?;
        Ok(Self {
            docker,
            anew: Registry::start(&directory.join("registry-anew"))?,
            upgraded: Registry::start(&directory.join("registry-upgraded"))?,
            directory: directory.to_owned(),
            empty_bytes,
        })
    }

    fn data_bytes(&self) -> Result<u64> {
        Ok(bytes_below(&self.directory.join("docker/data"))?.saturating_sub(self.empty_bytes))
    }

    /// A root as one new layer.
    fn publish_anew(&self, history: &History, number: usize) -> Result<()> {
        let tar = self.directory.join("root.tar");
        let options = ExportOptions { overwrite: true, ..ExportOptions::default() };
        let silent = &hornero_export::Silent;
        let image = &history.images[number];
        hornero_export::export(&history.store, image, Format::Tar, &tar, &options, silent)?;
        let name = self.anew.name(number);
        self.docker.import(&tar, &name)?;
        fs::remove_file(&tar)?;
        self.docker.run(&["push", "--quiet", &name]).map(drop)
    }

    /// The first root, and all further states as one layer on it; gives also the first root's bytes on disk.
    fn publish_upgraded(
        &self,
        table: &mut Table,
        history: &History,
        states: usize,
    ) -> Result<(Moved, u64)> {
        let mut moved = Moved::default();
        let first = self.upgraded.name(0);
        self.docker.run(&["tag", &self.anew.name(0), &first])?;
        moved.add(&self.upgraded, 0, || self.push(&first))?;
        let sizes = self.docker.run(&["image", "inspect", "--format", "{{.Size}}", &first])?;
        for number in 1..=states {
            let grown = moved.add(&self.upgraded, number, || {
                let context = self.directory.join("context");
                process::remove_directory(&context)?;
                let tree = context.join("tree");
                // A package that was patched twice has its latest files here: of the same size.
                for package in history.upgraded(number) {
                    unpack(package, &tree)?;
                }
                let status = "var/lib/dpkg/status";
                let text = history.store.read_file(&history.images[number], status)?;
                write(&tree.join(status), &text)?;
                fs::write(context.join("Dockerfile"), format!("FROM {first}\nCOPY tree /\n"))?;
                let name = self.upgraded.name(number);
                let context = context.display().to_string();
                self.docker.run(&[
                    "build",
                    "--quiet",
                    "--network=none",
                    "--tag",
                    &name,
                    &context,
                ])?;
                self.push(&name)
            })?;
            let changed = history.changed_bytes(number)?;
            table.add(ONE_FIX, "×", Better::Less, UPGRADED, grown as f64 / changed as f64);
        }
        Ok((moved, sizes.trim().parse()?))
    }

    fn push(&self, name: &str) -> Result<()> {
        self.docker.run(&["push", "--quiet", name]).map(drop)
    }
}

fn unpack(package: &Package, tree: &Path) -> Result<()> {
    for (path, mode, bytes) in &package.files {
        let path = tree.join(path);
        if *mode == 0 {
            fs::create_dir_all(path.parent().context("files are below the root")?)?;
            // An upgrade brings the links of its package again.
            let _ = fs::remove_file(&path);
            std::os::unix::fs::symlink(std::str::from_utf8(bytes)?, path)?;
        } else {
            write(&path, bytes)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(*mode))?;
        }
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::create_dir_all(path.parent().context("files are below the root")?)?;
    fs::write(path, bytes).with_context(|| format!("cannot write `{}`", path.display()))
}

/// Lengths of all files below a directory, each once however many names it has; 0 where there is none.
fn bytes_below(directory: &Path) -> Result<u64> {
    let (mut bytes, mut seen) = (0, BTreeSet::new());
    let mut waiting = vec![directory.to_owned()];
    while let Some(directory) = waiting.pop() {
        // A daemon may remove what it made for a moment.
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for entry in entries {
            let entry = entry?;
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                waiting.push(entry.path());
            } else if metadata.is_file() && seen.insert((metadata.dev(), metadata.ino())) {
                bytes += metadata.len();
            }
        }
    }
    Ok(bytes)
}
