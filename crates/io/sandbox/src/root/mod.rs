//! Ways to make a root from the store, best first: what each asks of the kernel, and what it loses.
//!
//! A metadata image says what is in the root; the bytes of its files are objects of the store. Each way is a rung of a
//! ladder, tried in miniature by [`attempt`] before it is used, so that what counts is what the kernel was seen to do.

pub(crate) mod attempt;
mod covered;
mod detached;
mod erofs;
mod file;
mod loop_device;
mod overlay;
mod rewrite;
mod shifted;
mod way;

use std::{fmt, str::FromStr};

pub(crate) use erofs::takes_no_files;
pub(crate) use loop_device::{Access, attach as loop_device, mount as mount_by_loop};
pub(crate) use overlay::assemble;
use serde::{Deserialize, Serialize};
pub(crate) use way::{RootWay, Stack};

/// A way to make a root from the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rung {
    /// EROFS from a file, objects as a data-only layer, detached mounts as layers (Linux 6.15).
    Detached,
    /// As before, with layers attached in a mount namespace of the start's own (Linux 6.12).
    File,
    /// EROFS through a loop device, objects as a data-only layer (Linux 6.5).
    Loop,
    /// As before, with the objects as an ordinary layer whose names the metadata covers (Linux 5.19).
    Covered,
    /// As before, with owners shifted in a copy of the metadata, since layers can't be id-mapped (Linux 5.15).
    Shifted,
}

impl Rung {
    /// All of them, best first.
    pub const ALL: [Self; 5] =
        [Self::Detached, Self::File, Self::Loop, Self::Covered, Self::Shifted];

    /// Its name, as in `HORNERO_ROOT`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Detached => "detached",
            Self::File => "file",
            Self::Loop => "loop",
            Self::Covered => "covered",
            Self::Shifted => "shifted",
        }
    }

    /// What it loses against the best; empty for the best.
    pub const fn cost(self) -> &'static str {
        match self {
            Self::Detached => "",
            Self::File => "a mount namespace and a thread for each start",
            Self::Loop => {
                "a loop device for each instance, beside a mount namespace and a thread for each start"
            }
            Self::Covered => {
                "memory of the size of the image's metadata and a loop device for each instance; contents are shared \
                 all the same"
            }
            Self::Shifted => {
                "memory of the size of the image's metadata and a loop device for each instance, and owners of a build \
                 step's files are changed one by one; contents are shared all the same"
            }
        }
    }

    pub(crate) fn way(self) -> &'static dyn RootWay {
        match self {
            Self::Detached => &detached::Detached,
            Self::File => &file::Attached,
            Self::Loop => &loop_device::ByLoop,
            Self::Covered => &covered::Covered,
            Self::Shifted => &shifted::Shifted,
        }
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Rung {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|rung| rung.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join("`, `");
            format!("`{text}` is no way to make a root; there are `{names}`")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_rungs() {
        for rung in Rung::ALL {
            assert_eq!(rung.name().parse(), Ok(rung));
            assert_eq!(format!("{rung:?}").to_lowercase(), rung.name());
        }
        assert!("whole".parse::<Rung>().unwrap_err().contains("`covered`"));
    }
}
