//! A root of real packages compared with what it should be: Hornero beside AIDE.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use hornero_model::ImageConfig;
use hornero_store::{CaptureOptions, DevicePolicy, ImageManifest, Store};

use crate::{
    hornero::Home,
    peers, process,
    setting::Setting,
    table::{Better, HORNERO, Table},
};

const FULL: &str = "every file read and hashed";
const FAST: &str = "metadata first";
/// Brings a minimal Debian to a server's number of files.
const PACKAGES: &str = "nginx-light,python3,perl,openssh-server,vim";
/// Fewer files would not be what is claimed.
const FILES_MIN: u64 = 10_000;
/// What `hornero verify` compares, and SHA-256 as it has.
const AIDE_FULL: &str = "ftype+p+u+g+s+l+xattrs+acl+sha256";
/// The same without contents: what changed shows in the time.
const AIDE_FAST: &str = "ftype+p+u+g+s+l+m";

pub fn measure(setting: &Setting) -> Result<Table> {
    peers::install(peers::VERIFIERS)?;
    let directory = setting.scratch.join("verify");
    fs::create_dir_all(&directory)?;
    let root = directory.join("root");
    eprintln!("bench: making a root of Debian packages");
    process::run(
        Command::new("/usr/sbin/debootstrap")
            .args(["--variant=minbase", &format!("--include={PACKAGES}"), "bookworm"])
            .arg(&root),
    )?;
    fs::set_permissions(&root, fs::Permissions::from_mode(0o755))?;
    let mut table = Table::new("Verify: a root of Debian packages against what it should be");
    let full = Aide::new(&directory, &root, "full", AIDE_FULL)?;
    let fast = Aide::new(&directory, &root, "fast", AIDE_FAST)?;
    let ours = if setting.peers_only { None } else { Some(Ours::new(&directory, &root)?) };
    let mut checked = None;
    for _ in 0..setting.runs {
        if let Some(ours) = &ours {
            let (ms, report) = ours.verify(&root, &["--full"])?;
            table.add(FULL, "ms", Better::Less, HORNERO, ms);
            checked = Some(report["checked"].clone());
            table.add(FAST, "ms", Better::Less, HORNERO, ours.verify(&root, &[])?.0);
        }
        table.add(FULL, "ms", Better::Less, "aide", full.check()?);
        table.add(FAST, "ms", Better::Less, "aide", fast.check()?);
    }
    if let Some(checked) = checked {
        let count = |name: &str| checked[name].as_u64().unwrap_or_default();
        ensure!(count("entries") >= FILES_MIN, "the root has only {} files", count("entries"));
        table.remark(format!(
            "Debian bookworm with `{PACKAGES}`: {} files and directories, {:.0} MB. The whole command is measured, the \
             root in the page cache. AIDE with as many workers as processors; `{AIDE_FULL}`, and `{AIDE_FAST}`. Both \
             find nothing, and then the same changed file.",
            count("entries"),
            count("hashed_bytes") as f64 / 1e6
        ));
    }
    let page = root.join("etc/debian_version");
    fs::write(&page, "changed\n")?;
    full.finds_change()?;
    if let Some(ours) = &ours {
        ours.finds_change(&root, "/etc/debian_version")?;
    }
    Ok(table)
}

/// AIDE with a database of its own.
struct Aide {
    config: PathBuf,
}

impl Aide {
    fn new(directory: &Path, root: &Path, name: &str, rule: &str) -> Result<Self> {
        let config = directory.join(format!("aide-{name}.conf"));
        let at = |end: &str| directory.join(format!("aide-{name}.{end}"));
        let workers = std::thread::available_parallelism()?;
        let text = format!(
            "database_in=file:{}\ndatabase_out=file:{}\ngzip_dbout=no\nnum_workers={workers}\n\
             root_prefix={}\nreport_url=stdout\n/ {rule}\n",
            at("db").display(),
            at("new").display(),
            root.display()
        );
        fs::write(&config, text)?;
        let aide = Self { config };
        process::run(&mut aide.command("--init"))?;
        fs::rename(at("new"), at("db"))?;
        Ok(aide)
    }

    fn command(&self, what: &str) -> Command {
        let mut command = Command::new("aide");
        command.arg(format!("--config={}", self.config.display())).arg(what);
        command
    }

    fn check(&self) -> Result<f64> {
        Ok(process::timed(|| process::run(&mut self.command("--check")))?.0)
    }

    fn finds_change(&self) -> Result<()> {
        let output = self.command("--check").output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(text.contains("/etc/debian_version"), "aide missed the changed file: {text}");
        Ok(())
    }
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
        let options = CaptureOptions { max_mtime: u64::MAX, devices: DevicePolicy::Keep };
        let layer = ingest.capture_directory(root, &options)?;
        let layer = ingest.put_layer(&layer)?;
        ingest.finish()?;
        let image = store.put_image(&ImageManifest::new(vec![layer], ImageConfig::default()))?;
        Ok(Self { home, image: image.to_string() })
    }

    fn verify(&self, root: &Path, more: &[&str]) -> Result<(f64, serde_json::Value)> {
        let root = root.to_str().context("the scratch directory's path is no text")?;
        self.home.run(&[&["verify", "--tree", root, "--image", &self.image], more].concat())
    }

    fn finds_change(&self, root: &Path, path: &str) -> Result<()> {
        let error = self.verify(root, &["--full"]).err().context("the change was missed")?;
        let text = format!("{error:#}");
        ensure!(text.contains(path), "the changed file was missed: {text}");
        Ok(())
    }
}
