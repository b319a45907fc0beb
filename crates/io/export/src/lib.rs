//! Images out as file systems and disks: EROFS, squashfs, Incus, raw and qcow2.
