//! Extended attributes behind an inode, and the names that overlayfs would take for its own.

use crate::{Metadata, Result, StoreError, TreePath};

const HEADER_LEN: usize = 12;
const ENTRY_HEADER_LEN: usize = 4;
const USER: u8 = 1;
const ACL_ACCESS: u8 = 2;
const ACL_DEFAULT: u8 = 3;
const TRUSTED: u8 = 4;
const SECURITY: u8 = 6;

/// The attribute area of an inode; empty when there are no attributes.
///
/// `redirect` is the path of the data below the data-only layer, without the leading slash.
pub(super) fn encode(
    path: &TreePath,
    metadata: &Metadata,
    redirect: Option<&str>,
) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    if let Some(redirect) = redirect {
        put(&mut out, TRUSTED, b"overlay.metacopy", b"");
        put(&mut out, TRUSTED, b"overlay.redirect", format!("/{redirect}").as_bytes());
    }
    for (name, value) in &metadata.xattrs {
        let (index, name) =
            split(name).filter(|(_, name)| name.len() <= usize::from(u8::MAX)).ok_or_else(
                || StoreError::Erofs(format!("`{path}` has an attribute that EROFS cannot hold")),
            )?;
        put(&mut out, index, &name, value);
    }
    if out.is_empty() {
        return Ok(out);
    }
    let mut area = vec![0; HEADER_LEN];
    area.append(&mut out);
    if (area.len() - HEADER_LEN) / 4 >= usize::from(u16::MAX) {
        return Err(StoreError::Erofs(format!("`{path}` has more attributes than EROFS can hold")));
    }
    Ok(area)
}

/// The inode's `i_xattr_icount` for an attribute area of this length.
pub(super) fn count_field(area_len: usize) -> u16 {
    if area_len == 0 { 0 } else { ((area_len - HEADER_LEN) / 4 + 1) as u16 }
}

fn put(out: &mut Vec<u8>, index: u8, name: &[u8], value: &[u8]) {
    out.reserve(ENTRY_HEADER_LEN + name.len() + value.len() + 3);
    out.push(name.len() as u8);
    out.push(index);
    out.extend_from_slice(&(value.len() as u16).to_le_bytes());
    out.extend_from_slice(name);
    out.extend_from_slice(value);
    out.resize(out.len().next_multiple_of(4), 0);
}

/// The number of the attribute's namespace and the rest of its name.
///
/// A file's own `trusted.overlay.x` becomes `trusted.overlay.overlay.x`, which overlayfs shows under its
/// first name again (since Linux 6.7; before, it stays hidden).
fn split(name: &[u8]) -> Option<(u8, Vec<u8>)> {
    if let Some(rest) = name.strip_prefix(b"trusted.overlay.".as_slice()) {
        return Some((TRUSTED, [b"overlay.overlay.", rest].concat()));
    }
    let prefixed =
        |prefix: &[u8], index| name.strip_prefix(prefix).map(|rest| (index, rest.to_vec()));
    match name {
        b"system.posix_acl_access" => Some((ACL_ACCESS, Vec::new())),
        b"system.posix_acl_default" => Some((ACL_DEFAULT, Vec::new())),
        _ => prefixed(b"user.", USER)
            .or_else(|| prefixed(b"trusted.", TRUSTED))
            .or_else(|| prefixed(b"security.", SECURITY)),
    }
}
