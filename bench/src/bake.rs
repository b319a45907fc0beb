//! A Debian base with nginx, every package already fetched: Hornero beside mmdebstrap, debootstrap, mkosi and Docker.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use hornero_archive::Relay;

use crate::{
    docker::Docker,
    hornero::Home,
    peers, process,
    setting::Setting,
    table::{BEFORE, Better, HORNERO, Table, in_turn},
};

const COLD: &str = "minbase + nginx from cached packages";
const ON_BASE: &str = "nginx on a minbase that is there";
const SCRIPTS: &str = "of that, maintainer scripts";
const AGAIN: &str = "the same again";

const SUITE: &str = "bookworm";
/// What is measured first: one image, no more than its peers make.
const ONE: &str = "one";
/// The same in two images: the second is what Docker adds to a base.
const TWO: &str = "two";

pub fn measure(setting: &Setting) -> Result<Table> {
    if setting.before.is_none() {
        peers::install(peers::BAKERS)?;
    }
    let directory = setting.scratch.join("bake");
    fs::create_dir_all(&directory)?;
    let mut table = Table::new("Bake: Debian bookworm minbase with nginx");
    // One mirror for all, which asks the network for nothing twice; pockets are left out, as not all know them.
    let relay = Relay::of_host(SUITE);
    relay.keep_in(&directory.join("mirror"));
    relay.hide(&["-security", "-updates"]);
    if let Some(before) = &setting.before {
        let places = [(HORNERO, &directory), (BEFORE, before)];
        let contestants = places.map(|(who, place)| Ok((who, Ours::warm(place, &relay.url())?)));
        let contestants = contestants.into_iter().collect::<Result<Vec<_>>>()?;
        for run in 0..setting.runs {
            for (who, ours) in in_turn(&contestants, run) {
                ours.measure(who, &mut table)?;
            }
        }
        table.remark(
            "Packages and index come from caches; the store is empty before each run of the first line.",
        );
        return Ok(table);
    }
    let docker = Docker::start(&directory)?;
    let peers = Peers::warm(&directory, &relay.url(), &docker)?;
    let ours = if setting.peers_only { None } else { Some(Ours::warm(&directory, &relay.url())?) };
    for _ in 0..setting.runs {
        if let Some(ours) = &ours {
            ours.measure(HORNERO, &mut table)?;
        }
        peers.measure(&mut table)?;
    }
    table.remark(
        "Everyone takes the index and the packages from caches or from one mirror on loopback that has them; Hornero \
         has the index in its lock. Hornero's store is empty before each run: packages are unpacked, their scripts \
         run, and the image is written and synced. mmdebstrap, debootstrap and mkosi write directories. Docker's is a \
         tar archive of minbase by mmdebstrap, `docker import`, and `docker build --no-cache` of `apt-get install \
         nginx-light` from a warm cache of packages; the last of these alone is what it needs on a base that is there.",
    );
    Ok(table)
}

struct Peers<'p> {
    directory: PathBuf,
    mirror: String,
    docker: &'p Docker,
}

/// One peer's way.
type Way<'p> = fn(&Peers<'p>) -> Result<()>;

impl<'p> Peers<'p> {
    const WAYS: [(&'static str, Way<'p>); 3] = [
        ("mmdebstrap", Self::mmdebstrap),
        ("debootstrap", Self::debootstrap),
        ("mkosi", Self::mkosi),
    ];

    fn warm(directory: &Path, mirror: &str, docker: &'p Docker) -> Result<Self> {
        let peers = Self { directory: directory.to_owned(), mirror: mirror.to_owned(), docker };
        for cache in [
            "archives",
            "debootstrap-cache",
            "mkosi-cache",
            "skeleton/etc/kernel/install.d",
            "context",
        ] {
            fs::create_dir_all(peers.at(cache))?;
        }
        // mkosi's hook for kernels goes where only systemd, which nobody wants here, makes a directory; and it adds
        // pockets on the network, which nobody else has.
        fs::create_dir_all(peers.at("skeleton/etc/kernel/install.d"))?;
        let lists = peers.at("skeleton/etc/apt/sources.list.d");
        fs::create_dir_all(&lists)?;
        for pocket in ["updates", "security"] {
            fs::write(lists.join(format!("{SUITE}-{pocket}.list")), "")?;
        }
        let dockerfile = "FROM minbase\n\
            COPY archives /var/cache/apt/archives\n\
            RUN apt-get -q -o Acquire::Languages=none update && apt-get -q -y --no-install-recommends \
            install nginx-light\n";
        fs::write(peers.at("context/Dockerfile"), dockerfile)?;
        for (who, bake) in Self::WAYS {
            eprintln!("bench: filling the caches of {who}");
            bake(&peers)?;
        }
        let cached = fs::read_dir(peers.at("archives"))?.count();
        ensure!(cached > 50, "mmdebstrap cached only {cached} files");
        peers.keep_added_packages()?;
        peers.minbase()?;
        peers.docker_build()?;
        peers.remove_roots()?;
        Ok(peers)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn remove_roots(&self) -> Result<()> {
        Self::WAYS
            .iter()
            .try_for_each(|(who, _)| process::remove_directory(&self.at(&format!("root.{who}"))))?;
        process::remove_directory(&self.at("root.tar"))
    }

    fn measure(&self, table: &mut Table) -> Result<()> {
        for (who, bake) in Self::WAYS {
            let (ms, ()) = process::timed(|| bake(self))?;
            table.add(COLD, "ms", Better::Less, who, ms);
        }
        let (base, ()) = process::timed(|| self.minbase())?;
        let (build, ()) = process::timed(|| self.docker_build())?;
        table.add(COLD, "ms", Better::Less, "docker build", base + build);
        table.add(ON_BASE, "ms", Better::Less, "docker build", build);
        self.remove_roots()
    }

    /// With its cache as mmdebstrap(1) shows it: archives are copied in before and out after.
    fn mmdebstrap(&self) -> Result<()> {
        let archives = self.at("archives");
        let archives = archives.display();
        process::run(
            Command::new("mmdebstrap")
                .args(["--quiet", "--variant=minbase", "--include=nginx-light"])
                .args(["--skip=download/empty", "--skip=essential/unlink", "--format=directory"])
                .arg("--setup-hook=mkdir -p \"$1\"/var/cache/apt/archives/")
                .arg(format!("--setup-hook=sync-in '{archives}' /var/cache/apt/archives/"))
                .arg(format!("--customize-hook=sync-out /var/cache/apt/archives '{archives}'"))
                .arg(SUITE)
                .arg(self.at("root.mmdebstrap"))
                .arg(&self.mirror),
        )
        .map(drop)
    }

    fn debootstrap(&self) -> Result<()> {
        process::run(
            Command::new("/usr/sbin/debootstrap")
                .args(["--variant=minbase", "--include=nginx-light"])
                .arg(format!("--cache-dir={}", self.at("debootstrap-cache").display()))
                .arg(SUITE)
                .arg(self.at("root.debootstrap"))
                .arg(&self.mirror),
        )
        .map(drop)
    }

    /// In an empty directory, without the host's settings and without what makes an image boot.
    fn mkosi(&self) -> Result<()> {
        let work = self.at("mkosi-work");
        process::remove_directory(&work)?;
        fs::create_dir_all(&work)?;
        let made = process::run(
            Command::new("mkosi")
                .current_dir(&work)
                .args(["--distribution=debian", "--format=directory", "--base-packages=no"])
                .args(["--package=nginx-light", "--bootable=no", "--repositories=main"])
                .arg(format!("--release={SUITE}"))
                .arg(format!("--mirror={}", self.mirror))
                .arg(format!("--cache={}", self.at("mkosi-cache").display()))
                .arg(format!("--output={}", self.at("root.mkosi").display()))
                // There may be no systemd here to ask for a scope.
                .arg(format!("--skeleton-tree={}", self.at("skeleton").display()))
                .args(["--nspawn-keep-unit", "--force", "build"]),
        );
        process::remove_directory(&work)?;
        made.map(drop)
    }

    /// A minbase for Docker, which has no way to make one.
    fn minbase(&self) -> Result<()> {
        let (tar, archives) = (self.at("root.tar"), self.at("archives"));
        let archives = archives.display();
        process::remove_directory(&tar)?;
        fs::create_dir_all(&tar)?;
        let tar = tar.join("root.tar");
        process::run(
            Command::new("mmdebstrap")
                .args(["--quiet", "--variant=minbase", "--format=tar"])
                .args(["--skip=download/empty", "--skip=essential/unlink"])
                .arg("--setup-hook=mkdir -p \"$1\"/var/cache/apt/archives/")
                .arg(format!("--setup-hook=sync-in '{archives}' /var/cache/apt/archives/"))
                .arg("--customize-hook=rm -rf \"$1\"/var/cache/apt/archives/*.deb")
                .arg(SUITE)
                .arg(&tar)
                .arg(&self.mirror),
        )?;
        self.docker.import(&tar, "minbase")
    }

    /// The mirror is on the host's loopback, so the build shares its network.
    fn docker_build(&self) -> Result<()> {
        let context = self.at("context").display().to_string();
        let build = ["build", "--quiet", "--no-cache", "--network=host", "--tag", "site", &context];
        self.docker.run(&build).map(drop)
    }

    /// What Docker's build installs on minbase, and no more: its cache of packages.
    fn keep_added_packages(&self) -> Result<()> {
        let added = self.at("context/archives");
        fs::create_dir_all(&added)?;
        let root = self.at("root.debootstrap");
        let wanted = process::run(Command::new("chroot").arg(&root).args([
            "dpkg-query",
            "-W",
            "-f=${Priority} ${Package}\\n",
        ]))?;
        let keep = |name: &str| {
            let package = name.split('_').next().unwrap_or_default();
            let line = wanted.lines().find(|line| line.ends_with(&format!(" {package}")));
            line.is_some_and(|line| !line.starts_with("required "))
        };
        for entry in fs::read_dir(self.at("archives"))? {
            let entry = entry?;
            let name = entry.file_name().into_string().unwrap_or_default();
            if keep(&name) && name.ends_with(".deb") {
                fs::copy(entry.path(), added.join(name))?;
            }
        }
        Ok(())
    }
}

/// Hornero: directories with a spec and its lock, and a home whose cache of packages is kept.
struct Ours {
    directory: PathBuf,
    packages: PathBuf,
}

impl Ours {
    fn warm(directory: &Path, mirror: &str) -> Result<Self> {
        let ours = Self { directory: directory.to_owned(), packages: directory.join("packages") };
        let base = format!("  debian   = \"{SUITE}\"\n  mirror   = \"{mirror}\"\n");
        let nginx = "  packages = [\"nginx-light\"]\n";
        let one = format!("image \"base\" {{\n{base}{nginx}}}\n");
        let two = format!(
            "image \"base\" {{\n{base}}}\nimage \"site\" {{\n  from = image.base\n{nginx}}}\n"
        );
        for (name, spec) in [(ONE, one), (TWO, two)] {
            fs::create_dir_all(ours.project(name))?;
            fs::write(ours.project(name).join("hornero.hcl"), spec)?;
        }
        eprintln!("bench: filling Hornero's cache of packages");
        let home = ours.home("fill")?;
        for name in [ONE, TWO] {
            ours.build(&home, name, &[])?;
        }
        fs::rename(home.path().join("cache"), &ours.packages)?;
        Ok(ours)
    }

    fn project(&self, name: &str) -> PathBuf {
        self.directory.join("projects").join(name)
    }

    /// A new home: nothing but the packages as they were fetched.
    fn home(&self, name: &str) -> Result<Home> {
        let path = self.directory.join(name);
        process::remove_directory(&path)?;
        let home = Home::new(path)?;
        if self.packages.exists() {
            let cache = home.path().join("cache");
            process::run(Command::new("cp").arg("-a").arg(&self.packages).arg(cache))?;
        }
        Ok(home)
    }

    /// Milliseconds of a build, and of the maintainer scripts in it.
    fn build(&self, home: &Home, name: &str, only: &[&str]) -> Result<(f64, f64)> {
        let project = self.project(name).display().to_string();
        let arguments = [&["build", "--explain", &project], only].concat();
        let (ms, told) = home.run_told(&arguments)?;
        let scripts = told
            .lines()
            .filter_map(|line| line.split("configuring packages took ").nth(1))
            .filter_map(|rest| rest.split(' ').next()?.parse::<f64>().ok())
            .sum();
        Ok((ms, scripts))
    }

    fn measure(&self, who: &str, table: &mut Table) -> Result<()> {
        let home = self.home("home")?;
        let (ms, scripts) = self.build(&home, ONE, &[])?;
        table.add(COLD, "ms", Better::Less, who, ms);
        table.add(SCRIPTS, "ms", Better::Less, who, scripts);
        table.add(AGAIN, "ms", Better::Less, who, self.build(&home, ONE, &[])?.0);
        let home = self.home("home-of-two")?;
        self.build(&home, TWO, &["base"]).context("the base alone")?;
        table.add(ON_BASE, "ms", Better::Less, who, self.build(&home, TWO, &["site"])?.0);
        Ok(())
    }
}
