//! POSIX access control lists: from the text that archives have to the attribute that file systems keep.
//!
//! The text is acl(5)'s, entries apart by commas or newlines (star, GNU tar and libarchive write it so); a fourth field
//! is the number of a named user or group. The attribute is version 2 of `linux/posix_acl_xattr.h`.

/// `SCHILY.acl.access` and `.default` of a pax header, and the attribute that each is.
pub(crate) const RECORDS: [(&[u8], &[u8]); 2] =
    [(b"SCHILY.acl.access", b"system.posix_acl_access"), (b"SCHILY.acl.default", DEFAULT)];
/// What new files of a directory inherit; others have none.
pub(crate) const DEFAULT: &[u8] = b"system.posix_acl_default";

/// `POSIX_ACL_XATTR_VERSION`.
const VERSION: [u8; 4] = [2, 0, 0, 0];
/// The number of entries without one, `ACL_UNDEFINED_ID`.
const NO_ID: u32 = u32::MAX;

/// Tags by `linux/posix_acl.h`, in the order in which the kernel wants them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tag {
    Owner = 0x01,
    User = 0x02,
    OwningGroup = 0x04,
    Group = 0x08,
    Mask = 0x10,
    Other = 0x20,
}

/// The attribute's value; none when the list says no more than permission bits do. `number_of` knows users and groups
/// by name.
pub(crate) fn value(
    text: &[u8],
    number_of: impl Fn(Tag, &str) -> Option<u32>,
) -> Result<Option<Vec<u8>>, String> {
    let text = std::str::from_utf8(text).map_err(|_| "is not text".to_owned())?;
    let mut entries = Vec::new();
    for line in text.split(['\n', ',']) {
        let line = line.split('#').next().unwrap_or_default().trim();
        if !line.is_empty() {
            entries.push(entry(line, &number_of)?);
        }
    }
    entries.sort_unstable();
    if entries.windows(2).any(|pair| (pair[0].0, pair[0].1) == (pair[1].0, pair[1].1)) {
        return Err("names somebody twice".to_owned());
    }
    let has = |tag| entries.iter().any(|(found, ..)| *found == tag);
    if ![Tag::Owner, Tag::OwningGroup, Tag::Other].into_iter().all(has) {
        return Err("lacks its owner, group or others".to_owned());
    }
    let is_extended = entries.len() > 3;
    if is_extended && !has(Tag::Mask) {
        return Err("names users or groups and has no mask".to_owned());
    }
    let mut out = VERSION.to_vec();
    for (tag, id, permissions) in entries {
        out.extend_from_slice(&(tag as u16).to_le_bytes());
        out.extend_from_slice(&permissions.to_le_bytes());
        out.extend_from_slice(&id.to_le_bytes());
    }
    Ok(is_extended.then_some(out))
}

fn entry(
    line: &str,
    number_of: impl Fn(Tag, &str) -> Option<u32>,
) -> Result<(Tag, u32, u16), String> {
    let malformed = || format!("has the malformed entry `{line}`");
    let fields: Vec<&str> = line.split(':').map(str::trim).collect();
    let fields = fields.strip_prefix(&["default"]).unwrap_or(&fields);
    let (tag, name, permissions, number) = match fields {
        // The mask and others may leave out the empty field.
        [tag @ ("mask" | "m" | "other" | "o"), permissions] => (*tag, "", *permissions, None),
        [tag, name, permissions] => (*tag, *name, *permissions, None),
        [tag, name, permissions, number] => (*tag, *name, *permissions, Some(*number)),
        _ => return Err(malformed()),
    };
    let tag = match (tag, name) {
        ("user" | "u", "") => Tag::Owner,
        ("user" | "u", _) => Tag::User,
        ("group" | "g", "") => Tag::OwningGroup,
        ("group" | "g", _) => Tag::Group,
        ("mask" | "m", "") => Tag::Mask,
        ("other" | "o", "") => Tag::Other,
        _ => return Err(malformed()),
    };
    let mut bits = 0;
    for letter in permissions.bytes() {
        bits |= match letter {
            b'r' => 4,
            b'w' => 2,
            b'x' => 1,
            b'-' => 0,
            _ => return Err(malformed()),
        };
    }
    let id = match tag {
        Tag::User | Tag::Group => {
            let number = number.or(Some(name)).and_then(|text| text.parse().ok());
            number.or_else(|| number_of(tag, name)).filter(|id| *id != NO_ID).ok_or_else(|| {
                format!("names `{name}`, whom its own accounts do not have; archive it with `--numeric-owner`")
            })?
        }
        _ => NO_ID,
    };
    Ok((tag, id, bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tag, permissions and id of each entry.
    type Entries<'a> = &'a [(u16, u16, u32)];

    fn check(text: &str, expected: Result<Option<Entries<'_>>, &str>) {
        let found =
            value(text.as_bytes(), |tag, name| (tag == Tag::Group && name == "adm").then_some(4));
        let encoded = |entries: Entries<'_>| {
            let mut bytes = vec![2, 0, 0, 0];
            for (tag, permissions, id) in entries {
                bytes.extend(tag.to_le_bytes());
                bytes.extend(permissions.to_le_bytes());
                bytes.extend(id.to_le_bytes());
            }
            bytes
        };
        match expected {
            Ok(expected) => assert_eq!(found, Ok(expected.map(encoded)), "{text}"),
            Err(words) => {
                assert!(found.as_ref().is_err_and(|said| said.contains(words)), "{found:?}")
            }
        }
    }

    #[test]
    fn lists_become_attributes() {
        let none = u32::MAX;
        let journal = [(1, 7, none), (4, 5, none), (8, 5, 4), (16, 5, none), (32, 5, none)];
        let text = "user::rwx\ngroup::r-x\ngroup:adm:r-x\nmask::r-x\nother::r-x\n";
        check(text, Ok(Some(&journal)));
        check("group:adm:r-x:4,user::rwx,group::r-x,mask::r-x,other::r-x", Ok(Some(&journal)));
        check("g:4:r-x, u::rwx, g::r-x, m:r-x, o:r-x #effective", Ok(Some(&journal)));
        let default = text.replace("user", "default:user").replace("mask", "default:mask");
        check(&default, Ok(Some(&journal)));
        check("user::rw-,group::r--,other::r--", Ok(None));
        let named = |entry: &str| format!("user::rw-,{entry},group::r--,mask::r--,other::r--");
        check(&named("user:alice:r--"), Err("alice"));
        check(&named("user:x:rq-:7"), Err("malformed"));
        check(&named("user:7:r--,user:7:r--"), Err("twice"));
        check("user::rw-,user:7:r--,group::r--,other::r--", Err("mask"));
        check("user::rw-", Err("lacks"));
        check("", Err("lacks"));
    }
}
