//! Reads the files that an instance's release lays over its root.

use std::{
    fs::File,
    io::{Read as _, Write},
    path::{Path, PathBuf},
};

use hornero_model::{Digest, error_chain};
use hornero_sandbox::{ProvidedFile, Root, SecretMount};
use hornero_secret::Vault;

use crate::recorded::{RecordedContent, RecordedFile, RecordedSpec};

/// The sandbox takes no larger file.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// The files of an instance that are no secrets, with what they hold.
pub(crate) fn files(spec: &RecordedSpec) -> Result<Vec<ProvidedFile>, String> {
    let mut files = Vec::new();
    for RecordedFile { path, mode, uid, gid, content } in &spec.files {
        let RecordedContent::Stored(digest) = content else { continue };
        let contents = stored(&spec.root, digest)
            .map_err(|reason| format!("read what `{path}` holds: {reason}"))?;
        let (mode, uid, gid) = (*mode, *uid, *gid);
        files.push(ProvidedFile { mode, uid, gid, ..ProvidedFile::new(path, contents) });
    }
    Ok(files)
}

/// The secrets of an instance. Encrypted values and the key are read now; what they hold is in memory only while a file
/// of the sandbox is filled, which is before its first process is cloned from this one.
pub(crate) fn secrets(home: &Path, spec: &RecordedSpec) -> Result<Vec<SecretMount>, String> {
    let vault = Vault::of(home);
    let mut secrets = Vec::new();
    for RecordedFile { path, mode, uid, gid, content } in &spec.files {
        let RecordedContent::Secret { name, version } = content else { continue };
        let sealed = vault.sealed(name, version).map_err(|error| error_chain(&error))?;
        let fill = move |file: &mut dyn Write| {
            let value = sealed.open().map_err(|error| error_chain(&error))?;
            file.write_all(&value).map_err(|error| error.to_string())
        };
        let (path, fill) = (path.clone(), Box::new(fill));
        secrets.push(SecretMount { path, mode: *mode, uid: *uid, gid: *gid, fill });
    }
    Ok(secrets)
}

/// An object of the store, with the digest that it should have.
fn stored(root: &Root, digest: &Digest) -> Result<Vec<u8>, String> {
    let path = object(root, digest)?;
    let mut bytes = Vec::new();
    let opened = File::open(&path);
    let read = opened.and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes));
    read.map_err(|error| format!("`{}`: {error}", path.display()))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("it is over {MAX_FILE_BYTES} bytes"));
    }
    match Digest::of(&bytes) == *digest {
        true => Ok(bytes),
        false => Err(format!("`{}` is not what it was", path.display())),
    }
}

/// Where the store has an object, beside those of the root.
fn object(root: &Root, digest: &Digest) -> Result<PathBuf, String> {
    match root {
        Root::Composed(composed) => Ok(hornero_store::object_path(&composed.objects, digest)),
        Root::Directory { .. } | Root::Build { .. } | Root::Views(_) => {
            Err("its root is of no store".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use hornero_sandbox::ComposedRoot;
    use hornero_store::Store;

    use super::*;

    fn of_store(store: &Path) -> Root {
        let objects = store.join("objects");
        Root::Composed(ComposedRoot { metadata: store.join("none"), objects })
    }

    #[test]
    fn only_what_has_its_digest_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path().join("store")).unwrap();
        let digest = store.put_object(&b"greeting = hi\n"[..]).unwrap().digest;
        let large = store.put_object(&vec![b'x'; 70_000][..]).unwrap().digest;
        let root = of_store(store.dir());
        assert_eq!(stored(&root, &digest).unwrap(), b"greeting = hi\n");
        assert!(stored(&root, &large).unwrap_err().contains("over 65536 bytes"));
        assert!(stored(&root, &Digest::of(b"other")).unwrap_err().contains("No such file"));
        let path = object(&root, &digest).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "greeting = ho\n").unwrap();
        assert!(stored(&root, &digest).unwrap_err().contains("is not what it was"));
        let directory = Root::Directory { path: "/".into(), writable: false };
        assert!(stored(&directory, &digest).is_err());
    }
}
