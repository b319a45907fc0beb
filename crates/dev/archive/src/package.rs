//! Builds small package files (deb(5)), the same bytes for the same calls.

use std::io::Write as _;

use hornero_model::Digest;

/// A package: every field, file and script it is built of.
#[derive(Clone)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture; `all` until said otherwise.
    pub architecture: String,
    /// Further fields of its control file, a line each.
    pub fields: String,
    /// Its files: path without a leading `/`, mode, contents. A symlink has mode 0 and its target as contents.
    pub files: Vec<(String, u32, Vec<u8>)>,
    /// Files beside its control file, such as scripts: name, mode, contents.
    pub control_files: Vec<(String, u32, Vec<u8>)>,
}

impl Package {
    /// A package with one file, `/usr/share/doc/NAME/README`.
    pub fn new(name: &str, version: &str) -> Self {
        let readme = format!("usr/share/doc/{name}/README");
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            architecture: "all".to_owned(),
            fields: String::new(),
            files: vec![(readme, 0o644, format!("{name} {version}\n").into_bytes())],
            control_files: Vec::new(),
        }
    }

    /// Adds a field to its control file.
    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push_str(&format!("{name}: {value}\n"));
        self
    }

    /// Says what it depends on.
    pub fn depends(self, relations: &str) -> Self {
        self.field("Depends", relations)
    }

    /// Makes it part of every base.
    pub fn essential(self) -> Self {
        self.field("Essential", "yes")
    }

    /// Says which source package it was built from: `NAME` or `NAME (VERSION)`.
    pub fn source(self, source: &str) -> Self {
        self.field("Source", source)
    }

    /// Adds a file; `path` has no leading `/`.
    pub fn file(mut self, path: &str, mode: u32, contents: impl Into<Vec<u8>>) -> Self {
        self.files.push((path.to_owned(), mode, contents.into()));
        self
    }

    /// Adds a symlink; `path` has no leading `/`.
    pub fn link(self, path: &str, target: &str) -> Self {
        self.file(path, 0, target)
    }

    /// Adds a maintainer script, such as `postinst`: a shell script without its first line.
    pub fn script(mut self, name: &str, text: &str) -> Self {
        let text = format!("#!/bin/sh\nset -e\n{text}\n").into_bytes();
        self.control_files.push((name.to_owned(), 0o755, text));
        self
    }

    /// Adds the script that configures it.
    pub fn postinst(self, text: &str) -> Self {
        self.script("postinst", text)
    }

    /// Its control file.
    pub fn control(&self) -> String {
        let mut text = format!(
            "Package: {}\nVersion: {}\nArchitecture: {}\n{}",
            self.name, self.version, self.architecture, self.fields
        );
        for (name, value) in
            [("Maintainer", "Nobody <nobody@example.test>"), ("Description", "a test")]
        {
            if !text.contains(&format!("\n{name}: ")) {
                text.push_str(&format!("{name}: {value}\n"));
            }
        }
        text
    }

    /// The name of its file.
    pub fn file_name(&self) -> String {
        format!("{}_{}_{}.deb", self.name, self.version.replace(':', "."), self.architecture)
    }

    /// Its file.
    pub fn build(&self) -> Vec<u8> {
        let mut control = vec![("control".to_owned(), 0o644, self.control().into_bytes())];
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

    /// Its stanza in a list of packages, for a file with these bytes.
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
                let dir = format!("{}/", dir.trim_end_matches('/'));
                builder.append_data(&mut header, dir, &[][..]).unwrap();
            }
        }
        let path = format!("./{path}");
        if *mode == 0 {
            let mut header = header(0o777, 0);
            header.set_entry_type(tar::EntryType::Symlink);
            builder.append_link(&mut header, path, std::str::from_utf8(contents).unwrap()).unwrap();
        } else {
            let mut header = header(*mode, contents.len());
            builder.append_data(&mut header, path, contents.as_slice()).unwrap();
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

/// Packs with gzip.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Packs with xz.
pub fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
