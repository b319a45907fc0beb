//! What a process executes: its program, and every file it has mapped as code.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    os::{fd::OwnedFd, unix::ffi::OsStringExt},
    path::Path,
};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, Statx, StatxFlags, openat, statx};

use crate::processes::Process;

/// A file that is executed from.
#[derive(Debug)]
pub(crate) struct Code {
    /// Its path as the kernel tells it.
    pub path: Vec<u8>,
    /// Opened only to be looked at; [`Code::open`] reads.
    file: OwnedFd,
    pub stat: Statx,
}

/// One line of `/proc/PID/maps`: code of a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mapping {
    /// The name in `/proc/PID/map_files`.
    pub range: String,
    /// Device and inode as the table has them; they only tell one file from another.
    pub identity: (String, u64),
    pub path: String,
}

impl Code {
    /// The program of a process.
    pub fn program(process: &Process) -> io::Result<Self> {
        Self::at(&process.file("exe"))
    }

    /// A mapped file.
    pub fn mapped(process: &Process, mapping: &Mapping) -> io::Result<Self> {
        Self::at(&process.file(&format!("map_files/{}", mapping.range)))
    }

    fn at(link: &Path) -> io::Result<Self> {
        let file = openat(CWD, link, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let path = std::fs::read_link(link)?.into_os_string().into_vec();
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        let stat = statx(&file, c"", flags, StatxFlags::BASIC_STATS | StatxFlags::MNT_ID)?;
        Ok(Self { path, file, stat })
    }

    /// Opens it for reading: the very file that is executed, whatever its name leads to by now.
    pub fn open(&self) -> io::Result<OwnedFd> {
        use std::os::fd::AsRawFd;
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        Ok(openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
    }

    /// Whether no name leads to it any more.
    pub fn is_deleted(&self) -> bool {
        self.stat.stx_nlink == 0
    }

    /// Whether both are the same file.
    pub fn is_same_as(&self, other: &Self) -> bool {
        let identity = |stat: &Statx| (stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino);
        identity(&self.stat) == identity(&other.stat)
    }
}

/// Every file that a process has mapped as code. Code without a file is the work of compilers at run time
/// and not listed.
pub(crate) fn mappings(process: &Process) -> io::Result<Vec<Mapping>> {
    let mut mappings = Vec::new();
    let mut reader = BufReader::with_capacity(1 << 16, File::open(process.file("maps"))?);
    let mut line = Vec::new();
    loop {
        line.clear();
        // A line holds one path, of which the kernel tells at most a page.
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(mappings);
        }
        mappings.extend(parse(&String::from_utf8_lossy(&line)));
    }
}

/// `address perms offset dev inode path`.
fn parse(line: &str) -> Option<Mapping> {
    let mut fields = line.splitn(6, ' ');
    let (range, permissions) = (fields.next()?, fields.next()?);
    let (_offset, device, inode) = (fields.next()?, fields.next()?, fields.next()?);
    let inode = inode.parse().ok().filter(|inode| *inode != 0)?;
    let path = fields.next()?.trim();
    if permissions.as_bytes().get(2) != Some(&b'x') {
        return None;
    }
    // This table pads addresses with zeros, the names of the other do not.
    let (start, end) = range.split_once('-')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    Some(Mapping {
        range: format!("{:x}-{:x}", number(start)?, number(end)?),
        identity: (device.to_owned(), inode),
        path: path.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_files_is_listed() {
        let check = |line: &str, range: Option<&str>| {
            assert_eq!(parse(line).map(|mapping| mapping.range).as_deref(), range, "{line}");
        };
        check("00400000-00452000 r-xp 00001000 08:02 173521  /usr/bin/x\n", Some("400000-452000"));
        check("7f00-7f10 rwxs 00000000 00:01 9  /memfd:x (deleted)\n", Some("7f00-7f10"));
        check("7f00-7f10 r--p 00000000 08:02 173521  /usr/bin/x\n", None);
        check("7f00-7f10 r-xp 00000000 00:00 0  [vdso]\n", None);
        check("7f00-7f10 rwxp 00000000 00:00 0 \n", None);
        check("", None);
    }

    proptest::proptest! {
        #[test]
        fn any_line_is_read_without_panic(line: String) {
            parse(&line);
        }
    }
}
