//! The archive that the kernel unpacks into memory at its start (kernel Documentation/driver-api/early-userspace).

/// An archive in the `newc` form, uncompressed: it is loaded from the same disk either way.
#[derive(Debug, Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    count: u32,
}

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const CHAR_DEVICE: u32 = 0o020_000;

impl Archive {
    pub(super) fn directory(&mut self, path: &str) {
        self.put(path, DIRECTORY | 0o755, (0, 0), b"");
    }

    pub(super) fn file(&mut self, path: &str, mode: u32, contents: &[u8]) {
        self.put(path, FILE | mode, (0, 0), contents);
    }

    pub(super) fn char_device(&mut self, path: &str, major: u32, minor: u32) {
        self.put(path, CHAR_DEVICE | 0o600, (major, minor), b"");
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.put("TRAILER!!!", 0, (0, 0), b"");
        self.bytes
    }

    fn put(&mut self, path: &str, mode: u32, device: (u32, u32), contents: &[u8]) {
        self.count += 1;
        let links = if mode & DIRECTORY == DIRECTORY { 2 } else { 1 };
        let name_len = path.len() as u32 + 1;
        // Number, mode, owner, group, links, time, size, device, device it is, length of the name, checksum.
        let fields = [
            self.count,
            mode,
            0,
            0,
            links,
            0,
            contents.len() as u32,
            0,
            0,
            device.0,
            device.1,
            name_len,
            0,
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(contents);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}
