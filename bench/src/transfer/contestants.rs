//! Who publishes every state, and who pulls it: Hornero, and Docker in two ways.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use hornero_archive::Package;
use hornero_export::{ExportOptions, Format};
use hornero_model::Digest;
use hornero_oci::{Access, Pulled, Pushed, Quiet, Reference};
use hornero_store::Store;

use super::{
    history::History,
    registries::{Moved, Registry, bytes_below},
    rows::{PATCHES, PULLED, PUSHED, REGISTRY, STORED, UPGRADED, add_fix, row},
};
use crate::{
    docker::Docker,
    process,
    table::{HORNERO, Table},
};

/// A registry and a server that pulls every state.
pub(super) struct Ours {
    registry: Registry,
    server: Store,
    cache: PathBuf,
    /// Every state's bytes out and in.
    moved: Vec<(u64, u64)>,
}

impl Ours {
    pub(super) fn start(directory: &Path) -> Result<Self> {
        Ok(Self {
            registry: Registry::start(&directory.join("registry"))?,
            server: Store::open(directory.join("server"))?,
            cache: directory.join("layers"),
            moved: Vec::new(),
        })
    }

    /// Pushes a state and pulls it on the server; gives the bytes out and those that the server got.
    pub(super) fn publish(
        &mut self,
        store: &Store,
        image: &Digest,
        number: usize,
    ) -> Result<(u64, u64)> {
        let reference: Reference = self.registry.name(number).parse()?;
        let access = Access::anonymous();
        let options = hornero_oci::PackOptions {
            cache: Some(self.cache.clone()),
            ..hornero_oci::PackOptions::default()
        };
        let Pushed { bytes_moved: out, .. } =
            hornero_oci::push(store, image, &reference, &access, &options, None, &Quiet)?;
        let Pulled { image: pulled, bytes_moved: bytes_in, .. } =
            hornero_oci::pull(&self.server, &reference, &access, &Quiet)?;
        ensure!(pulled == *image, "the server has `{pulled}` instead of `{image}`");
        self.moved.push((out, bytes_in));
        Ok((out, bytes_in))
    }

    pub(super) fn report(&self, table: &mut Table, store: &Store) -> Result<()> {
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
pub(super) struct Theirs {
    docker: Docker,
    pub(super) anew: Registry,
    pub(super) upgraded: Registry,
    directory: PathBuf,
    /// What the daemon's data took before.
    empty_bytes: u64,
}

impl Theirs {
    pub(super) fn start(directory: &Path) -> Result<Self> {
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

    pub(super) fn data_bytes(&self) -> Result<u64> {
        Ok(bytes_below(&self.directory.join("docker/data"))?.saturating_sub(self.empty_bytes))
    }

    /// A root as one new layer.
    pub(super) fn publish_anew(&self, history: &History, number: usize) -> Result<()> {
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
    pub(super) fn publish_upgraded(
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
            add_fix(table, UPGRADED, (grown, grown), changed);
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
