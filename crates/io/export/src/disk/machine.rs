//! What a disk that boots has differently on each architecture.

use super::guid::Guid;

/// One architecture, in the words of those who read a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Machine {
    /// As Rust and the kernel call it.
    name: &'static str,
    /// The type of a root partition (Discoverable Partitions Specification).
    pub(super) root: Guid,
    /// The file that firmware starts from a disk it knows nothing of (UEFI specification 3.5.1.1), as FAT stores names.
    pub(super) boot_file: &'static [u8; 11],
    /// The stub in front of the kernel, from the package `systemd-boot-efi`.
    pub(super) stub: &'static str,
    /// The kernel's arguments. The last console is the one whose output a server's is; a machine that cannot go on
    /// starts again.
    pub(super) arguments: &'static str,
    /// Packages with a kernel: for virtual machines, and for all.
    pub(super) kernels: [&'static str; 2],
}

const X86_64: Machine = Machine {
    name: "x86_64",
    root: Guid::of(0x4f68_bce3, 0xe8cd, 0x4db1, 0x96e7_fbca_f984_b709),
    boot_file: b"BOOTX64 EFI",
    stub: "/usr/lib/systemd/boot/efi/linuxx64.efi.stub",
    arguments: "console=tty0 console=ttyS0 panic=10 loglevel=4",
    kernels: ["linux-image-cloud-amd64", "linux-image-amd64"],
};

const AARCH64: Machine = Machine {
    name: "aarch64",
    root: Guid::of(0xb921_b045, 0x1df0, 0x41c3, 0xaf44_4c6f_280d_3fae),
    boot_file: b"BOOTAA64EFI",
    stub: "/usr/lib/systemd/boot/efi/linuxaa64.efi.stub",
    // Some real machines have the first kind of serial line, virtual ones the second.
    arguments: "console=tty0 console=ttyS0 console=ttyAMA0 panic=10 loglevel=4",
    kernels: ["linux-image-cloud-arm64", "linux-image-arm64"],
};

const KNOWN: [Machine; 2] = [X86_64, AARCH64];

/// The one that this program is built for, which is that of all images in its store.
pub(super) const HERE: Machine = KNOWN[if cfg!(target_arch = "x86_64") {
    0
} else if cfg!(target_arch = "aarch64") {
    1
} else {
    panic!("how disks for this architecture boot is not in `machine.rs`")
}];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known() {
        assert_eq!(HERE.name, std::env::consts::ARCH);
    }

    #[test]
    fn types_are_stored_as_the_specification_says() {
        assert_eq!(
            X86_64.root.bytes(),
            *b"\xe3\xbc\x68\x4f\xcd\xe8\xb1\x4d\x96\xe7\xfb\xca\xf9\x84\xb7\x09"
        );
        assert_eq!(
            AARCH64.root.bytes(),
            *b"\x45\xb0\x21\xb9\xf0\x1d\xc3\x41\xaf\x44\x4c\x6f\x28\x0d\x3f\xae"
        );
    }

    #[test]
    fn no_two_share_what_tells_them_apart() {
        for (index, machine) in KNOWN.iter().enumerate() {
            for other in &KNOWN[index + 1..] {
                assert_ne!(machine.root, other.root);
                assert_ne!(machine.boot_file, other.boot_file);
                assert_ne!(machine.stub, other.stub);
                assert_ne!(machine.kernels, other.kernels);
            }
        }
    }
}
