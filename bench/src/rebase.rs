//! A thousand images moved onto a patched base, beside building them again with Docker.

use std::{
    collections::BTreeMap,
    fs,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, ensure};
use hornero_archive::Relay;
use hornero_bake::{
    BakeContext, BakeOptions, BakeRecord, LayerSource, Lock, LockMode, RebaseOptions, Rebaser,
    StepKind, StepRecord, facts, progress::Silent, sources::DirectorySources,
};
use hornero_export::{ExportOptions, Format};
use hornero_model::{Digest, ImageName};
use hornero_spec::{Spec, Variables};
use hornero_store::{Entry, ImageManifest, Layer, Metadata, Store, TreePath};
use rustix::fs::inotify;

use crate::{
    docker::Docker,
    peers, process,
    setting::Setting,
    table::{Better, HORNERO, Table},
};

const SUITE: &str = "bookworm";
const MOVE: &str = "images onto a patched base";
/// Kinds of images, each a package on the base.
const KINDS: [(&str, &str); 10] = [
    ("nginx", "nginx-light"),
    ("python", "python3-minimal"),
    ("redis", "redis-server"),
    ("sqlite", "sqlite3"),
    ("curl", "curl"),
    ("rsync", "rsync"),
    ("tmux", "tmux"),
    ("lua", "lua5.4"),
    ("jq", "jq"),
    ("socat", "socat"),
];

pub fn measure(setting: &Setting) -> Result<Table> {
    peers::install(peers::CONTAINERS)?;
    let directory = setting.scratch.join("rebase");
    fs::create_dir_all(&directory)?;
    let mut table = Table::new("Rebase: images of ten kinds onto a patched base");
    let relay = Relay::of_host(SUITE);
    let fleet = Fleet::bake(&directory, &relay)?;
    let rounded = setting.images.div_ceil(KINDS.len()) * KINDS.len();
    if !setting.peers_only {
        let mut opened = 0;
        for run in 0..setting.runs {
            opened += fleet.measure(&mut table, run, rounded)?;
        }
        table.remark(format!(
            "{rounded} images: ten kinds baked on Debian {SUITE} as it was before its security updates, each with {} pages of \
             its own on top, moved onto the base with them ({} packages changed): proof, status of dpkg, layers, manifests, \
             records and the cache of steps, all on disk at the end. Contents opened meanwhile, counted by inotify: {opened}.",
            rounded / KINDS.len(),
            fleet.changed,
        ));
    }
    let docker = Builder::new(&directory, setting, &fleet)?;
    for run in 0..setting.runs.min(2) {
        docker.measure(&mut table, run, rounded)?;
    }
    table.remark(format!(
        "Docker builds the same from the same base, package files and pages, without a network: for each kind one image \
         is built on the new base, and a second one, whose packages are in the build cache by then. These {} builds are \
         measured; the figure is their sum as if every further image of a kind took as long as its second one.",
        2 * KINDS.len()
    ));
    Ok(table)
}

fn name(text: &str) -> ImageName {
    ImageName::new(text).expect("the names of the bench are valid")
}

/// A base before and after its security updates, and an image of every kind on the older one.
struct Fleet {
    store: Store,
    home: PathBuf,
    lock: Lock,
    old_base: Digest,
    new_base: Digest,
    kinds: Vec<Digest>,
    changed: usize,
}

impl Fleet {
    fn bake(directory: &Path, relay: &Relay) -> Result<Self> {
        let (project, home) = (directory.join("project"), directory.join("home"));
        fs::create_dir_all(&project)?;
        fs::create_dir_all(&home)?;
        let mut text = format!(
            "image \"base\" {{\n  debian   = \"{SUITE}\"\n  mirror   = \"{}\"\n  packages = [\"ca-certificates\"]\n}}\n",
            relay.url()
        );
        for (kind, package) in KINDS {
            text.push_str(&format!(
                "image \"{kind}\" {{\n  from     = image.base\n  packages = [\"{package}\"]\n}}\n"
            ));
        }
        let sources = DirectorySources::new(&project);
        let spec = hornero_spec::parse("hornero.hcl", text.as_bytes(), &Variables::new(), &sources)
            .map_err(|errors| anyhow!("{}", errors.render(false)))?;
        let store = Store::open(home.join("store"))?;
        let context = BakeContext::new(&home, &Silent);
        let bake = |names: &[&str]| -> Result<Vec<Digest>> {
            let names: Vec<ImageName> = names.iter().map(|text| name(text)).collect();
            let options = BakeOptions::default();
            let baked = hornero_bake::bake(&context, &store, &spec, &project, &names, options)?;
            Ok(baked.iter().map(|image| image.digest).collect())
        };
        eprintln!("bench: baking a base and ten images on it");
        relay.hide(&["security"]);
        let old_base = bake(&["base"])?[0];
        let kinds = bake(&KINDS.map(|(kind, _)| kind))?;
        let lock = Lock::read(&project)?.context("a bake leaves its lock")?;
        relay.hide(&[]);
        let (new_base, changed) = Self::patch(&context, &spec, &project, &lock, &bake)?;
        Ok(Self { store, home, lock, old_base, new_base, kinds, changed })
    }

    fn patch(
        context: &BakeContext<'_>,
        spec: &Spec,
        project: &Path,
        old: &Lock,
        bake: &dyn Fn(&[&str]) -> Result<Vec<Digest>>,
    ) -> Result<(Digest, usize)> {
        let new = hornero_bake::lock(context, spec, project, LockMode::Update)?;
        new.write(project)?;
        let versions = |lock: &Lock| -> BTreeMap<String, String> {
            let base = lock.images.get(&name("base"));
            let packages = base.into_iter().flat_map(|base| &base.packages);
            packages.map(|one| (one.name.clone(), one.version.clone())).collect()
        };
        let (old, new) = (versions(old), versions(&new));
        let changed = new.iter().filter(|(name, version)| old.get(*name) != Some(version)).count();
        ensure!(changed > 0, "Debian has no security update for the base at present");
        Ok((bake(&["base"])?[0], changed))
    }

    /// Moves images that were never moved before; gives how many contents were opened.
    fn measure(&self, table: &mut Table, run: usize, count: usize) -> Result<usize> {
        let images = self.images(run, count)?;
        rustix::fs::sync();
        let watch = Watch::new(&self.store)?;
        let (ms, moved) = process::timed(|| {
            let rebaser = Rebaser::new(&self.store, &self.old_base, &self.new_base)?;
            Ok(rebaser.images(&images, RebaseOptions::default())?)
        })?;
        let opened = watch.opened();
        let refused: Vec<String> =
            moved.iter().filter_map(|one| one.as_ref().err()).map(ToString::to_string).collect();
        ensure!(refused.is_empty(), "{} images are refused: {}", refused.len(), refused[0]);
        table.add(&format!("{count} {MOVE}"), "s", Better::Less, HORNERO, ms / 1000.0);
        Ok(opened)
    }

    /// Images as `copy` makes them: a kind with a page on top.
    fn images(&self, run: usize, count: usize) -> Result<Vec<Digest>> {
        eprintln!("bench: making {count} images");
        let (mut manifests, mut records) = (Vec::new(), Vec::new());
        let (mut pages, mut layers) = (Vec::new(), Vec::new());
        let ingest = self.store.ingest()?;
        for number in 0..count {
            let page = ingest.put_bytes(format!("page {number} of run {run}\n").as_bytes())?;
            let metadata = Metadata::root_owned(0o644, 1);
            let path = TreePath::new("srv/page.html")?;
            let layer = Layer::from_entries(vec![Entry { path, kind: page.into(), metadata }])?;
            layers.push(ingest.put_layer(&layer)?);
            pages.push(page.digest);
        }
        let _ = ingest.finish()?;
        for number in 0..count {
            let kind = &self.kinds[number % self.kinds.len()];
            let ImageManifest { layers: below, config, .. } = self.store.image(kind)?;
            let _ = facts::of_layer(&self.store, &layers[number], &below)?;
            let manifest = ImageManifest::new([below, vec![layers[number]]].concat(), config);
            let mut record = BakeRecord::of(&self.store, kind)?.context("a kind has a record")?;
            record.name = name(&format!("app-{number}"));
            record.image = manifest.digest();
            record.steps.push(StepRecord {
                title: "copy `page.html` to `/srv/page.html`".to_owned(),
                kind: StepKind::Copy,
                key: pages[number],
                below: pages[number],
                inputs: BTreeMap::new(),
                layers: vec![layers[number]],
                sources: vec![LayerSource::Copy { from: "page.html".to_owned() }],
                own: Some(pages[number]),
                action: None,
            });
            records.push((record.image, serde_json::to_vec(&record)?));
            manifests.push(manifest);
        }
        let images = self.store.put_images(&manifests)?;
        let attachments: Vec<(Digest, &str, &[u8])> =
            records.iter().map(|(image, bytes)| (*image, "bake", bytes.as_slice())).collect();
        self.store.attach_all(&attachments)?;
        Ok(images)
    }
}

/// Counts how often contents of a store are opened, by any process.
struct Watch(OwnedFd);

impl Watch {
    fn new(store: &Store) -> Result<Self> {
        let inotify =
            inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        for shard in fs::read_dir(store.objects_dir())? {
            inotify::add_watch(&inotify, shard?.path(), inotify::WatchFlags::OPEN)?;
        }
        Ok(Self(inotify))
    }

    fn opened(&self) -> usize {
        let mut space = vec![std::mem::MaybeUninit::uninit(); 1 << 20];
        let mut events = inotify::Reader::new(&self.0, &mut space);
        let mut opened = 0;
        while let Ok(event) = events.next() {
            opened += usize::from(!event.events().contains(inotify::ReadFlags::ISDIR));
        }
        opened
    }
}

/// Docker with both bases, and a directory to build from for every kind.
struct Builder {
    docker: Docker,
    directory: PathBuf,
}

impl Builder {
    fn new(directory: &Path, setting: &Setting, fleet: &Fleet) -> Result<Self> {
        let docker = Docker::start(&setting.scratch)?;
        for (tag, image) in [("base:old", &fleet.old_base), ("base:new", &fleet.new_base)] {
            let tar = directory.join("base.tar");
            let options = ExportOptions { overwrite: true, ..ExportOptions::default() };
            let silent = &hornero_export::Silent;
            hornero_export::export(&fleet.store, image, Format::Tar, &tar, &options, silent)?;
            docker.import(&tar, tag)?;
        }
        for (kind, _) in KINDS {
            let packages = directory.join("docker").join(kind).join("packages");
            fs::create_dir_all(&packages)?;
            let locked = fleet.lock.images.get(&name(kind)).context("every kind is locked")?;
            for package in &locked.packages {
                let cached = fleet.home.join("cache/packages").join(package.digest().hex());
                let file = package.path.rsplit('/').next().unwrap_or(&package.name);
                fs::copy(&cached, packages.join(file))
                    .with_context(|| format!("cannot copy `{}`", cached.display()))?;
            }
        }
        Ok(Self { docker, directory: directory.join("docker") })
    }

    fn measure(&self, table: &mut Table, run: usize, count: usize) -> Result<()> {
        let mut seconds = 0.0;
        for (kind, _) in KINDS {
            let first = self.build(kind, run, 0)?;
            let second = self.build(kind, run, 1)?;
            seconds += first + second * (count / KINDS.len()).saturating_sub(1) as f64;
        }
        table.add(&format!("{count} {MOVE}"), "s", Better::Less, "docker build", seconds);
        Ok(())
    }

    /// Seconds of one build on the new base; each run has steps of its own, so that none is in the cache before.
    fn build(&self, kind: &str, run: usize, page: usize) -> Result<f64> {
        let context = self.directory.join(kind);
        fs::write(context.join("page.html"), format!("page {page} of run {run}\n"))?;
        fs::write(
            context.join("Dockerfile"),
            format!(
                "FROM base:new\nENV RUN={run} DEBIAN_FRONTEND=noninteractive\nCOPY packages /packages\n\
                 RUN printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d \
                 && chmod +x /usr/sbin/policy-rc.d \
                 && dpkg --force-unsafe-io --force-depends --unpack /packages/*.deb \
                 && dpkg --force-unsafe-io --configure -a \
                 && rm -r /packages /usr/sbin/policy-rc.d\n\
                 COPY page.html /srv/page.html\n"
            ),
        )?;
        let tag = format!("{kind}:{page}");
        let context = context.display().to_string();
        let (ms, _) = process::timed(|| {
            self.docker.run(&["build", "--quiet", "--network=none", "--tag", &tag, &context])
        })?;
        Ok(ms / 1000.0)
    }
}
