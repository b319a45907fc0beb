//! The root that containers start from: Debian with nginx, made once a run by mmdebstrap.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use crate::process;

/// Where the program that tells its first instruction lies in the root.
pub const PROBE: &str = "/usr/local/bin/first-instruction";

/// The nginx of the roots that are measured: it serves one page on port 8080.
pub const NGINX_CONF: &str = "\
worker_processes 1;
pid /run/nginx.pid;
error_log stderr;
events { worker_connections 256; }
http {
    access_log off;
    server { listen 8080; root /srv/site; }
}
";

/// A root as tar archive and as directory, with [`PROBE`] in it.
pub struct DebianRoot {
    pub tar: PathBuf,
    pub directory: PathBuf,
}

impl DebianRoot {
    /// Makes it below `scratch`, or takes the one that is there.
    pub fn make(scratch: &Path) -> Result<Self> {
        let (tar, directory) = (scratch.join("root.tar"), scratch.join("root"));
        if !tar.exists() {
            eprintln!("bench: making a root with mmdebstrap");
            process::run(
                Command::new("mmdebstrap")
                    .args(["--quiet", "--variant=minbase", "--include=nginx-light"])
                    .args(["--format=directory", "bookworm"])
                    .arg(&directory),
            )?;
            let probe = directory.join(PROBE.trim_start_matches('/'));
            fs::copy(std::env::current_exe()?, probe)?;
            fs::write(directory.join("etc/nginx/nginx.conf"), NGINX_CONF)?;
            process::run(
                Command::new("tar").arg("-C").arg(&directory).arg("-cf").arg(&tar).arg("."),
            )?;
        }
        Ok(Self { tar, directory })
    }
}
