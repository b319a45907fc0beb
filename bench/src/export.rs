//! An image out as a file: Hornero beside `mkfs.erofs` and `docker save`, all from the same root.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use hornero_model::ImageConfig;
use hornero_store::{CaptureOptions, DevicePolicy, ImageManifest, Store};

use crate::{
    docker::Docker,
    hornero::Home,
    peers, process,
    roots::DebianRoot,
    setting::Setting,
    table::{Better, HORNERO, Table},
};

const EROFS: &str = "plain EROFS image";
const FIRST: &str = "OCI image, nothing kept from before: compressed";
const AGAIN: &str = "OCI image again";
const SIZE: &str = "size of the EROFS image";

pub fn measure(setting: &Setting) -> Result<Table> {
    peers::install(peers::CONTAINERS)?;
    peers::install(&[("erofs-utils", "writes an EROFS image, to compare with")])?;
    let directory = setting.scratch.join("export");
    fs::create_dir_all(&directory)?;
    let root = DebianRoot::make(&setting.scratch)?;
    let docker = Docker::start(&directory)?;
    docker.import(&root.tar, "root")?;
    let ours =
        if setting.peers_only { None } else { Some(Ours::new(&directory, &root.directory)?) };
    let mut table = Table::new("Export: Debian minbase with nginx as one file");
    for _ in 0..setting.runs {
        if let Some(ours) = &ours {
            let out = directory.join("ours.erofs");
            table.add(EROFS, "ms", Better::Less, HORNERO, ours.export("erofs", &out)?);
            table.add(SIZE, "MB", Better::Less, HORNERO, megabytes(&out)?);
            let out = directory.join("ours.oci");
            process::remove_directory(&ours.home.path().join("cache/oci"))?;
            table.add(FIRST, "ms", Better::Less, HORNERO, ours.export("oci", &out)?);
            table.add(AGAIN, "ms", Better::Less, HORNERO, ours.export("oci", &out)?);
        }
        let out = text(&directory.join("theirs.erofs"))?;
        let (ms, _) =
            process::timed(|| process::read("mkfs.erofs", &[&out, &text(&root.directory)?]))?;
        table.add(EROFS, "ms", Better::Less, "mkfs.erofs", ms);
        table.add(SIZE, "MB", Better::Less, "mkfs.erofs", megabytes(Path::new(&out))?);
        fs::remove_file(&out)?;
        let out = directory.join("theirs.tar");
        let (ms, _) = process::timed(|| docker.run(&["save", "--output", &text(&out)?, "root"]))?;
        ensure!(megabytes(&out)? > 50.0, "docker saved less than a root");
        table.add(AGAIN, "ms", Better::Less, "docker save", ms);
        fs::remove_file(&out)?;
        let (ms, ()) = process::timed(|| save_packed(&docker, &out))?;
        table.add(FIRST, "ms", Better::Less, "docker save, piped to gzip", ms);
        fs::remove_file(&out)?;
    }
    table.remark(
        "The whole commands; what they read is in the page cache, what they write is new. Hornero checks before that \
         no content changed since it was last hashed. `mkfs.erofs` reads an unpacked tree and packs the ends of files \
         behind their inodes, which makes its image smaller. `docker save` writes an uncompressed archive, Hornero a \
         directory with compressed layers that a registry would take as they are; it keeps them, so that a second export \
         and a push find them. gzip at its default level.",
    );
    Ok(table)
}

/// A home whose store has an image of the root.
struct Ours {
    home: Home,
    image: String,
}

impl Ours {
    fn new(directory: &Path, root: &Path) -> Result<Self> {
        let home = Home::new(directory.join("home"))?;
        let store = Store::open(home.path().join("store"))?;
        let ingest = store.ingest()?;
        let options = CaptureOptions { max_mtime: u64::MAX >> 1, devices: DevicePolicy::Skip };
        let layer = ingest.capture_directory(root, &options)?;
        let layer = ingest.put_layer(&layer)?;
        ingest.finish()?;
        let image = store.put_image(&ImageManifest::new(vec![layer], ImageConfig::default()))?;
        Ok(Self { home, image: image.to_string() })
    }

    /// Milliseconds of an export; what was written before is removed.
    fn export(&self, format: &str, out: &Path) -> Result<f64> {
        if out.is_dir() {
            process::remove_directory(out)?;
        } else if out.exists() {
            fs::remove_file(out)?;
        }
        let out = text(out)?;
        Ok(self.home.run(&["image", "export", &self.image, "--format", format, &out])?.0)
    }
}

/// What `docker save` writes, as compressed as an OCI layout is.
fn save_packed(docker: &Docker, out: &Path) -> Result<()> {
    let mut save = docker.command(&["save", "root"]).stdout(Stdio::piped()).spawn()?;
    let archive = save.stdout.take().context("the archive is piped")?;
    let packed = Command::new("gzip").stdin(archive).stdout(fs::File::create(out)?).status()?;
    ensure!(save.wait()?.success() && packed.success(), "docker save, or gzip, failed");
    ensure!(megabytes(out)? > 10.0, "docker saved less than a root");
    Ok(())
}

fn text(path: &Path) -> Result<String> {
    Ok(path.to_str().context("the scratch directory's path is no text")?.to_owned())
}

fn megabytes(path: &Path) -> Result<f64> {
    Ok(fs::metadata(path)?.len() as f64 / 1e6)
}
