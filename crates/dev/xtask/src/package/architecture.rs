//! What the machine that packages are built on and for is called by whom.

use anyhow::{Context, Result};

/// One kind of machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Architecture {
    /// As Rust, the kernel and file names of tarballs say.
    pub name: &'static str,
    /// As Debian says.
    pub debian: &'static str,
    /// As cargo and C compilers of the GNU C library say.
    pub target: &'static str,
    /// The directory of its libraries in Debian.
    pub multiarch: &'static str,
    /// The loader of shared libraries that programs for it name.
    pub loader: &'static str,
}

const KNOWN: &[Architecture] = &[
    Architecture {
        name: "x86_64",
        debian: "amd64",
        target: "x86_64-unknown-linux-gnu",
        multiarch: "x86_64-linux-gnu",
        loader: "ld-linux-x86-64.so.2",
    },
    Architecture {
        name: "aarch64",
        debian: "arm64",
        target: "aarch64-unknown-linux-gnu",
        multiarch: "aarch64-linux-gnu",
        loader: "ld-linux-aarch64.so.1",
    },
];

/// The machine that this runs on.
pub fn host() -> Result<Architecture> {
    let name = std::env::consts::ARCH;
    let found = KNOWN.iter().find(|architecture| architecture.name == name);
    found.copied().with_context(|| format!("there are no packages for `{name}`"))
}
