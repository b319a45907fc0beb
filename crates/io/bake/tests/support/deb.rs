//! Builds small package files.

use std::io::Write as _;

use hornero_model::Digest;

#[derive(Clone)]
pub struct Deb {
    pub name: String,
    pub version: String,
    pub fields: String,
    pub files: Vec<(String, u32, Vec<u8>)>,
    pub control_files: Vec<(String, u32, Vec<u8>)>,
}

impl Deb {
    pub fn new(name: &str, version: &str) -> Self {
        let readme = format!("usr/share/doc/{name}/README");
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            fields: String::new(),
            files: vec![(readme, 0o644, format!("{name} {version}\n").into_bytes())],
            control_files: Vec::new(),
        }
    }

    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push_str(&format!("{name}: {value}\n"));
        self
    }

    pub fn file(mut self, path: &str, mode: u32, contents: impl Into<Vec<u8>>) -> Self {
        self.files.push((path.to_owned(), mode, contents.into()));
        self
    }

    pub fn control(&self) -> String {
        format!(
            "Package: {}\nVersion: {}\nArchitecture: all\nMaintainer: Nobody <nobody@example.test>\n{}Description: a test\n",
            self.name, self.version, self.fields
        )
    }

    pub fn file_name(&self) -> String {
        format!("{}_{}_all.deb", self.name, self.version.replace(':', "."))
    }

    pub fn build(&self) -> Vec<u8> {
        let control_file = ("control".to_owned(), 0o644, self.control().into_bytes());
        let mut control = vec![control_file];
        control.extend(self.control_files.iter().cloned());
        let members = [
            ("debian-binary", b"2.0\n".to_vec()),
            ("control.tar.gz", gzip(&tar(&control))),
            ("data.tar.xz", xz(&tar(&self.files))),
        ];
        let mut deb = b"!<arch>\n".to_vec();
        for (name, bytes) in members {
            writeln!(deb, "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`", 0, 0, 0, "100644", bytes.len())
                .unwrap();
            deb.extend_from_slice(&bytes);
            if bytes.len() % 2 == 1 {
                deb.push(b'\n');
            }
        }
        deb
    }

    pub fn stanza(&self, bytes: &[u8]) -> String {
        format!(
            "{}Filename: pool/{}\nSize: {}\nSHA256: {}\n",
            self.control(),
            self.file_name(),
            bytes.len(),
            Digest::of(bytes).hex()
        )
    }
}

/// A link is a file with mode 0 whose contents are its target.
fn tar(files: &[(String, u32, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut made = std::collections::BTreeSet::new();
    for (path, mode, contents) in files {
        let parts: Vec<&str> = path.split('/').collect();
        for depth in 0..parts.len() {
            let dir = format!("./{}", parts[..depth].join("/"));
            if path.contains('/') && made.insert(dir.clone()) {
                let mut header = header(0o755, 0);
                header.set_entry_type(tar::EntryType::Directory);
                builder
                    .append_data(&mut header, format!("{}/", dir.trim_end_matches('/')), &[][..])
                    .unwrap();
            }
        }
        let path = format!("./{path}");
        if *mode == 0 {
            let mut header = header(0o777, 0);
            header.set_entry_type(tar::EntryType::Symlink);
            builder.append_link(&mut header, path, std::str::from_utf8(contents).unwrap()).unwrap();
        } else {
            builder
                .append_data(&mut header(*mode, contents.len()), path, contents.as_slice())
                .unwrap();
        }
    }
    builder.into_inner().unwrap()
}

fn header(mode: u32, size: usize) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_size(size as u64);
    header.set_mtime(1_600_000_000);
    header.set_uid(0);
    header.set_gid(0);
    header
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
