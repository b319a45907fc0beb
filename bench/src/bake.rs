//! A Debian base with nginx, every package already fetched: Hornero beside mmdebstrap and debootstrap.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, ensure};

use crate::{
    Setting,
    hornero::Home,
    peers, process,
    table::{Better, HORNERO, Table},
};

const COLD: &str = "minbase + nginx from cached packages";
const AGAIN: &str = "the same again";
/// What is measured: one image, no more than its peers make.
const SPEC: &str =
    "image \"base\" {\n  debian   = \"bookworm\"\n  packages = [\"nginx-light\"]\n}\n";

pub fn measure(setting: &Setting) -> Result<Table> {
    peers::install(peers::BAKERS)?;
    let directory = setting.scratch.join("bake");
    fs::create_dir_all(&directory)?;
    let mut table = Table::new("Bake: Debian bookworm minbase with nginx");
    let peers = Peers::warm(&directory)?;
    let ours = if setting.peers_only { None } else { Some(Ours::warm(&directory)?) };
    for _ in 0..setting.runs {
        if let Some(ours) = &ours {
            ours.measure(&mut table)?;
        }
        let (ms, ()) = process::timed(|| peers.mmdebstrap())?;
        table.add(COLD, "ms", Better::Less, "mmdebstrap", ms);
        let (ms, ()) = process::timed(|| peers.debootstrap())?;
        table.add(COLD, "ms", Better::Less, "debootstrap", ms);
        peers.remove_roots()?;
    }
    table.remark(
        "Each with every package in a cache of its own and into a directory; the peers still fetch the archive's index, \
         Hornero has it in its lock. Hornero's store is empty before each run: packages are unpacked, their scripts run, \
         and the image is written and synced.",
    );
    Ok(table)
}

struct Peers {
    archives: PathBuf,
    debootstrap_cache: PathBuf,
    root: PathBuf,
}

impl Peers {
    fn warm(directory: &Path) -> Result<Self> {
        let at = |name: &str| directory.join(name);
        let peers = Self {
            archives: at("archives"),
            debootstrap_cache: at("debootstrap"),
            root: at("root"),
        };
        fs::create_dir_all(&peers.archives)?;
        fs::create_dir_all(&peers.debootstrap_cache)?;
        eprintln!("bench: filling the caches of mmdebstrap and debootstrap");
        peers.mmdebstrap()?;
        peers.debootstrap()?;
        peers.remove_roots()?;
        let cached = fs::read_dir(&peers.archives)?.count();
        ensure!(cached > 50, "mmdebstrap cached only {cached} files");
        Ok(peers)
    }

    fn root(&self, who: &str) -> PathBuf {
        self.root.with_extension(who)
    }

    fn remove_roots(&self) -> Result<()> {
        ["mmdebstrap", "debootstrap"]
            .iter()
            .try_for_each(|who| process::remove_directory(&self.root(who)))
    }

    /// With its cache as mmdebstrap(1) shows it: archives are copied in before and out after.
    fn mmdebstrap(&self) -> Result<()> {
        let archives = self.archives.display();
        process::run(
            Command::new("mmdebstrap")
                .args(["--quiet", "--variant=minbase", "--include=nginx-light"])
                .args(["--skip=download/empty", "--skip=essential/unlink", "--format=directory"])
                .arg("--setup-hook=mkdir -p \"$1\"/var/cache/apt/archives/")
                .arg(format!("--setup-hook=sync-in '{archives}' /var/cache/apt/archives/"))
                .arg(format!("--customize-hook=sync-out /var/cache/apt/archives '{archives}'"))
                .arg("bookworm")
                .arg(self.root("mmdebstrap")),
        )
        .map(drop)
    }

    fn debootstrap(&self) -> Result<()> {
        process::run(
            Command::new("/usr/sbin/debootstrap")
                .args(["--variant=minbase", "--include=nginx-light"])
                .arg(format!("--cache-dir={}", self.debootstrap_cache.display()))
                .arg("bookworm")
                .arg(self.root("debootstrap")),
        )
        .map(drop)
    }
}

/// Hornero: a directory with the spec and its lock, and a home whose cache of packages is kept.
struct Ours {
    directory: PathBuf,
    project: PathBuf,
    packages: PathBuf,
}

impl Ours {
    fn warm(directory: &Path) -> Result<Self> {
        let project = directory.join("project");
        fs::create_dir_all(&project)?;
        fs::write(project.join("hornero.hcl"), SPEC)?;
        let ours =
            Self { directory: directory.to_owned(), project, packages: directory.join("packages") };
        eprintln!("bench: filling Hornero's cache of packages");
        let home = ours.home("fill")?;
        ours.build(&home)?;
        fs::rename(home.path().join("cache"), &ours.packages)?;
        Ok(ours)
    }

    fn home(&self, name: &str) -> Result<Home> {
        let path = self.directory.join(name);
        process::remove_directory(&path)?;
        Home::new(path)
    }

    fn build(&self, home: &Home) -> Result<f64> {
        Ok(home.run(&["build", &self.project.display().to_string()])?.0)
    }

    fn measure(&self, table: &mut Table) -> Result<()> {
        // A new home: nothing but the packages as they were fetched.
        let home = self.home("home")?;
        let cache = home.path().join("cache").display().to_string();
        process::run(Command::new("cp").arg("-a").arg(&self.packages).arg(&cache))?;
        table.add(COLD, "ms", Better::Less, HORNERO, self.build(&home)?);
        table.add(AGAIN, "ms", Better::Less, HORNERO, self.build(&home)?);
        Ok(())
    }
}
