//! Reads `trust` blocks.

use hcl_edit::structure::Block;
use hornero_model::{KeyName, PublicKey};

use crate::{
    ErrorCode,
    error::Mistake,
    evaluate::Evaluator,
    read_value::{invalid, shown, valid},
    section::{At, Section, label},
};

/// A key with the place of its name.
#[derive(Debug)]
pub(crate) struct Trust {
    pub name: At<KeyName>,
    pub key: PublicKey,
}

/// Reads a `trust` block; none where it can't be used, which is reported.
pub(crate) fn read(cx: &mut Evaluator, block: &Block) -> Option<Trust> {
    let name = label(cx, block, "a trust needs a name", "ci");
    let shown_name = name.as_ref().map(|name| shown(&name.value)).unwrap_or_default();
    let mut section = Section::of_block(cx, block, format!("trust `{shown_name}`"));
    let written = section.has("public_key");
    let text = section.text(cx, "public_key");
    const HINT: &str =
        "write `public_key = \"ed25519:BASE64\"`, the public half of the key to trust";
    if !written {
        section.missing(cx, "public_key", HINT);
    }
    section.finish(cx);
    let name = name.and_then(|name| valid(cx, KeyName::new(&*name.value), name));
    let text = text?;
    let Ok(key) = text.value.parse::<PublicKey>() else {
        if text.value.contains("PRIVATE KEY") {
            // The text itself must not be repeated.
            cx.report(
                Mistake::new(
                    ErrorCode::InvalidValue,
                    text.span,
                    format!("`public_key` of trust `{shown_name}` is a private key"),
                )
                .hint("take it out of this file, make a new one, and write its public half here"),
            );
        } else {
            invalid(cx, &text, "a public key", HINT);
        }
        return None;
    };
    Some(Trust { name: name?, key })
}
