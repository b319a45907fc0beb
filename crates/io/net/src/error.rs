//! What can go wrong with a home's network, and what the user can do about it.

use std::{io, net::Ipv4Addr, path::PathBuf};

use hornero_model::{InstanceId, ServiceName};

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why an operation on a home's network failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the home or of the kernel could not be used.
    #[error("can't {action} `{}`", path.display())]
    File {
        /// What was tried, such as `read`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// `network.json` is not what this version writes.
    #[error("network state `{}` is unusable: {reason}", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The kernel refused a netlink request.
    #[error("can't {action}{}", if detail.is_empty() { String::new() } else { format!(" ({detail})") })]
    Kernel {
        /// What was asked for, such as ``create bridge `hrn01234567` ``.
        action: String,
        /// The kernel's own words, where it has any.
        detail: String,
        /// The error number.
        source: io::Error,
    },
    /// The kernel was built without something the network needs.
    #[error("this kernel can't {action}: it lacks {option}")]
    MissingKernelFeature {
        /// What was asked for.
        action: String,
        /// The kernel options that provide it, such as `CONFIG_NF_TABLES`.
        option: &'static str,
        /// The error number the kernel gave.
        source: io::Error,
    },
    /// The caller may not administer the network.
    #[error("can't {action}: this needs root (CAP_NET_ADMIN)")]
    NotPermitted {
        /// What was asked for.
        action: String,
        /// The error number the kernel gave.
        source: io::Error,
    },
    /// Every subnet that Hornero may use overlaps an address or a route of the host.
    #[error("every /16 from 10.64.0.0 to 10.191.0.0 overlaps an address or a route of this host")]
    NoFreeSubnet,
    /// No address is free for another instance.
    #[error("no address of `{subnet}` is free for instance `{instance}`")]
    NoFreeAddress {
        /// The home's subnet.
        subnet: String,
        /// The instance that asked.
        instance: InstanceId,
    },
    /// No address is free for another service.
    #[error("no address of `{subnet}` is free for service `{service}`")]
    NoFreeServiceAddress {
        /// The home's subnet.
        subnet: String,
        /// The service that asked.
        service: ServiceName,
    },
    /// An instance was to be attached under an address that it does not hold.
    #[error("address `{address}` is not allocated to instance `{instance}`")]
    NotAllocated {
        /// The address.
        address: Ipv4Addr,
        /// The instance.
        instance: InstanceId,
    },
    /// The home's bridge is not there.
    #[error("bridge `{bridge}` of this home does not exist")]
    NotUp {
        /// The bridge.
        bridge: String,
    },
    /// Another home's path gives the same bridge name.
    #[error("bridge `{bridge}` belongs to the home `{owner}`")]
    BridgeTaken {
        /// The bridge.
        bridge: String,
        /// The description found on it.
        owner: String,
    },
    /// An attached link did not begin to carry packets in time.
    #[error("link `{link}` carries no packets after {waited_ms} ms")]
    LinkNotReady {
        /// The link.
        link: String,
        /// How long was waited, in milliseconds.
        waited_ms: u64,
    },
}

impl Error {
    /// What the user can do about it, where something general can be said.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::MissingKernelFeature { .. } => Some(
                "load the kernel modules of nftables, bridge and veth \
                 (`modprobe nf_tables nft_masq nft_reject nft_ct bridge veth`), or boot a kernel \
                 built with these options, such as Debian's",
            ),
            Self::NotPermitted { .. } => Some("run it as root"),
            Self::State { .. } => Some(
                "stop the home's instances, remove the file and run `hornero up`: it is made anew",
            ),
            Self::NoFreeSubnet => Some("remove or narrow the host's routes into that range"),
            Self::NotUp { .. } => Some("run `hornero up`, which makes it"),
            Self::BridgeTaken { .. } => Some("move this home to a directory of another name"),
            Self::File { .. }
            | Self::Kernel { .. }
            | Self::NoFreeAddress { .. }
            | Self::NoFreeServiceAddress { .. }
            | Self::NotAllocated { .. }
            | Self::LinkNotReady { .. } => None,
        }
    }
}

/// Counts one error number as success: what was to be removed is not there.
pub(crate) fn ignoring(number: i32, result: Result<()>) -> Result<()> {
    match result {
        Err(Error::Kernel { source, .. }) if source.raw_os_error() == Some(number) => Ok(()),
        other => other,
    }
}
