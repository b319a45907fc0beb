//! Reads `copy` blocks.

use std::rc::Rc;

use hcl_edit::structure::Block;

use crate::{
    CopyOwner, CopySource, SourceKind, Sources,
    evaluate::Evaluator,
    path,
    read_command::account,
    read_value::{invalid, shown},
    section::{At, Section, Text, label},
};

/// Reads a `copy` block; none where it can't be used, which is reported.
pub(crate) fn read(cx: &mut Evaluator, block: &Block, sources: &dyn Sources) -> Option<CopySource> {
    let from = label(cx, block, "a copy needs a source", "public/");
    let shown_from = from.as_ref().map(|from| shown(&from.value)).unwrap_or_default();
    let mut section = Section::of_block(cx, block, format!("copy `{shown_from}`"));
    let to = section.text(cx, "to");
    if to.is_none() && block.body.get_attribute("to").is_none() {
        section.missing(cx, "to", "write where it goes: `to = \"/srv/site/\"`");
    }
    let mode = section.text(cx, "mode").and_then(|mode| file_mode(cx, &mode));
    let owner = section.text(cx, "owner").and_then(|owner| file_owner(cx, &owner));
    section.finish(cx);
    let source = from.and_then(|from| path::source(cx, sources, "the source of a copy", &from));
    let to = to.and_then(|to| {
        let normal = path::in_image(cx, "`to` of a copy", &to)?;
        Some((normal, to))
    });
    let (source, (mut target, written)) = (source?, to?);
    if source.kind == SourceKind::File {
        if written.value.ends_with('/') {
            let parent = target.trim_end_matches('/');
            target = format!("{parent}/{}", source.name);
        } else if target == "/" {
            invalid(cx, &written, "a path for a file", "add the name that the file gets");
        }
    }
    Some(CopySource {
        from: source.path,
        kind: source.kind,
        to: target,
        mode,
        owner: owner.unwrap_or_default(),
    })
}

pub(crate) fn file_mode(cx: &mut Evaluator, mode: &Text) -> Option<u32> {
    let digits = &*mode.value;
    let octal =
        (3..=4).contains(&digits.len()) && digits.bytes().all(|b| (b'0'..=b'7').contains(&b));
    if octal {
        return u32::from_str_radix(digits, 8).ok();
    }
    invalid(cx, mode, "a file mode", "write three or four octal digits, such as `0644` or `0755`");
    None
}

pub(crate) fn file_owner(cx: &mut Evaluator, owner: &Text) -> Option<CopyOwner> {
    let (user, group) = match owner.value.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (&*owner.value, None),
    };
    let part = |text: &str| At { value: Rc::from(text), span: owner.span.clone() };
    let user = account(cx, "user", &part(user))?;
    let group = match group {
        Some(group) => Some(account(cx, "group", &part(group))?),
        None => None,
    };
    Some(CopyOwner { user, group })
}
