//! Reads what an image is made on.

use std::rc::Rc;

use hornero_model::{Digest, ImageName};

use crate::{
    Base, ErrorCode, StoredImage,
    error::Mistake,
    evaluate::Evaluator,
    read_value::{invalid, reference, shown},
    section::{At, Section, Text},
    value::{BlockKind, Span, Value},
};

/// The base, and where `from` stands.
pub(crate) fn base(cx: &mut Evaluator, section: &mut Section<'_>) -> (Base, Option<Span>) {
    let on_image = section.has("from");
    let both = on_image && section.has("debian");
    let neither = !on_image && !section.has("debian");
    let suite = section.text(cx, "debian");
    let from = parent(cx, section);
    let mirror = section.text(cx, "mirror");
    let keyring = section.text(cx, "keyring");
    if let (true, Some(suite), Some(from)) = (both, &suite, &from) {
        let message = format!("{} has both `debian` and `from`", section.what);
        cx.report(
            Mistake::new(ErrorCode::Conflict, from.span.clone(), message)
                .related(suite.span.clone(), "the other is here")
                .hint("an image is made on a Debian suite or on another image"),
        );
    }
    if neither {
        let hint = "write `debian = \"bookworm\"`, or `from = image.NAME` for one on another image";
        section.missing(cx, "debian` or `from", hint);
    }
    if on_image {
        for (key, value) in [("mirror", &mirror), ("keyring", &keyring)] {
            if let Some(value) = value {
                let message = format!("`{key}` goes with `debian`, not with `from`");
                cx.report(
                    Mistake::new(ErrorCode::Conflict, value.span.clone(), message)
                        .hint("set it in the image that this one is made from"),
                );
            }
        }
    }
    let suite = suite.filter(|suite| suite_name(cx, suite));
    let mirror = mirror.filter(|mirror| mirror_address(cx, mirror));
    let keyring = keyring.filter(|keyring| keyring_path(cx, "keyring", keyring));
    let base = match &from {
        Some(from) => from.value.clone(),
        None => Base::Debian {
            suite: suite.map(|suite| suite.value.to_string()).unwrap_or_default(),
            mirror: mirror.map(|mirror| mirror.value.to_string()),
            keyring: keyring.map(|keyring| keyring.value.to_string()),
        },
    };
    (base, from.map(|from| from.span))
}

/// What `from` names: an image of the file, or one of the store.
fn parent(cx: &mut Evaluator, section: &mut Section<'_>) -> Option<At<Base>> {
    let value = section.take("from")?;
    let name = format!("`from` of {}", section.what);
    let Value::String(written) = &value.value else {
        let image = reference(cx, &name, &value, BlockKind::Image)?;
        let base = Base::Image(ImageName::new(&*image.value).ok()?);
        return Some(At { value: base, span: image.span });
    };
    let declared = cx.declared.get(&BlockKind::Image);
    if let Some(place) = declared.and_then(|images| images.get(&**written)) {
        let message = format!(
            "{name} names an image of the store, but `{}` is one of this file",
            shown(written)
        );
        let place = place.clone();
        cx.report(
            Mistake::new(ErrorCode::WrongType, value.span.clone(), message)
                .related(place, "declared here")
                .hint(format!("write it without quotes: `image.{}`", shown(written))),
        );
        return None;
    }
    let stored = match written.parse::<Digest>() {
        Ok(digest) => Some(StoredImage::Digest(digest)),
        Err(_) => ImageName::new(&**written).ok().map(StoredImage::Name),
    };
    let text = Text { value: Rc::clone(written), span: value.span };
    let Some(stored) = stored else {
        let hint = "write `image.NAME` for one of this file, and for one of the store the name it was imported under \
                    or its whole digest in quotes";
        invalid(cx, &text, "the name or digest of an image", hint);
        return None;
    };
    Some(At { value: Base::Stored(stored), span: text.span })
}

fn suite_name(cx: &mut Evaluator, suite: &Text) -> bool {
    let fine = !suite.value.is_empty()
        && suite.value.len() <= 64
        && suite.value.starts_with(|letter: char| letter.is_ascii_lowercase())
        && suite.value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !fine {
        invalid(cx, suite, "a Debian suite", "write its name, such as `bookworm`");
    }
    fine
}

/// Whether a text is the address of an archive; reports it where not.
pub(crate) fn mirror_address(cx: &mut Evaluator, mirror: &Text) -> bool {
    let rest = ["http://", "https://", "file:///"]
        .iter()
        .find_map(|scheme| mirror.value.strip_prefix(scheme));
    let fine = rest.is_some_and(|rest| {
        !rest.is_empty() && mirror.value.bytes().all(|byte| byte.is_ascii_graphic())
    });
    if !fine {
        invalid(
            cx,
            mirror,
            "the address of a mirror",
            "write `http://HOST/PATH`, `https://HOST/PATH` or `file:///PATH`",
        );
    }
    fine
}

/// Whether a text is the path of a keyring; reports it where not.
pub(crate) fn keyring_path(cx: &mut Evaluator, key: &str, keyring: &Text) -> bool {
    let outside = keyring.value.split('/').any(|part| part == "..");
    if outside {
        let message = format!("`{key}` must not contain `..`: `{}`", shown(&keyring.value));
        cx.report(
            Mistake::new(ErrorCode::PathEscapes, keyring.span.clone(), message)
                .hint("write an absolute path, or one relative to the directory of `hornero.hcl`"),
        );
    } else if keyring.value.is_empty() {
        invalid(cx, keyring, "a path", "write the path of a keyring file");
        return false;
    }
    !outside
}
