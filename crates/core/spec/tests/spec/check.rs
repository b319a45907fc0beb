//! The one helper of the tests: a file's text goes in, its errors or what was read come out.

use std::collections::BTreeMap;

use expect_test::Expect;
use hornero_spec::{AtPath, Errors, Sources, Spec, Variables, parse};

/// What lies beside the file, in memory.
#[derive(Default)]
pub struct Beside(BTreeMap<String, AtPath>, BTreeMap<String, Vec<u8>>);

impl Beside {
    /// The directory that most tests use.
    pub fn usual() -> Self {
        Self::default()
            .with("public", AtPath::Directory)
            .with("public/index.html", AtPath::File)
            .with("nginx.conf", AtPath::File)
            .holding("app.tmpl", b"name = ${var.name}\n%{ for n in [1, 2] ~}\nn${n}\n%{ endfor ~}\n$${kept} $x \\n\n")
            .holding("bad.tmpl", b"first\nvalue = ${var.nam}\n")
            .holding("broken.tmpl", b"one\ntwo ${ \n")
            .holding("binary", &[0xff, 0])
            .holding("large", &[b'x'; 70_000])
            .with("current", AtPath::Symlink("public/./index.html".to_owned()))
            .with("public/up", AtPath::Symlink("../nginx.conf".to_owned()))
            .with("outside", AtPath::Symlink("/etc/passwd".to_owned()))
            .with("above", AtPath::Symlink("public/../../secret".to_owned()))
            .with("loop", AtPath::Symlink("loop".to_owned()))
            .with("pipe", AtPath::Other)
            .with("locked", AtPath::Unreadable("permission denied".to_owned()))
    }

    pub fn with(mut self, path: &str, at: AtPath) -> Self {
        self.0.insert(path.to_owned(), at);
        self
    }

    /// A file with something in it.
    pub fn holding(mut self, path: &str, bytes: &[u8]) -> Self {
        self.1.insert(path.to_owned(), bytes.to_vec());
        self.with(path, AtPath::File)
    }
}

impl Sources for Beside {
    fn read(&self, path: &str, most: usize) -> Result<Vec<u8>, String> {
        let bytes = self.1.get(path).ok_or("permission denied")?;
        Ok(bytes.iter().take(most + 1).copied().collect())
    }

    fn look(&self, path: &str) -> AtPath {
        assert!(!path.split('/').any(|part| matches!(part, "" | "." | "..")), "{path}");
        self.0.get(path).cloned().unwrap_or(AtPath::Missing)
    }
}

pub fn read(text: &str) -> Result<Spec, Errors> {
    parse("hornero.hcl", text.as_bytes(), &Variables::new(), &Beside::usual())
}

/// A file that must be refused, and what is said of it.
pub fn check(text: &str, expected: Expect) {
    check_bytes(text.as_bytes(), expected);
}

pub fn check_bytes(bytes: &[u8], expected: Expect) {
    check_with(bytes, &Variables::new(), expected);
}

pub fn check_with(bytes: &[u8], variables: &Variables, expected: Expect) {
    let errors = parse("hornero.hcl", bytes, variables, &Beside::usual())
        .expect_err("this file must be refused");
    expected.assert_eq(&errors.render(false));
}

/// A file that must be read.
pub fn good(text: &str) -> Spec {
    match read(text) {
        Ok(spec) => spec,
        Err(errors) => panic!("this file must be read:\n{errors}"),
    }
}
