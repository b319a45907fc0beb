//! SPDX licence expressions: whether one can be met with the licences that are allowed.

use spdx::{Expression, ParseMode};

/// Licences that ask for no more than a notice, or for their own files only (MPL-2.0).
pub const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "Unicode-3.0",
    "Unicode-DFS-2016",
    "Unlicense",
    "Zlib",
];

/// How strictly an expression is read: older packages write `/` for OR, and names that SPDX has replaced since.
const MODE: ParseMode =
    ParseMode { allow_slash_as_or_operator: true, allow_deprecated: true, ..ParseMode::STRICT };

/// Whether `expression` can be met with allowed licences; an error where it can't be read.
pub fn is_allowed(expression: &str) -> Result<bool, String> {
    let expression = Expression::parse_mode(expression, MODE).map_err(|error| {
        let place = expression.get(error.span).unwrap_or_default();
        format!("{} at `{place}`", error.reason)
    })?;
    // An exception only ever allows more.
    Ok(expression.evaluate(|required| {
        required.license.id().is_some_and(|licence| ALLOWED.contains(&licence.name))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_read_as_spdx_says() {
        for good in [
            "MIT",
            "MIT/Apache-2.0",
            "GPL-3.0-only OR MIT",
            "Apache-2.0 WITH LLVM-exception",
            "(MIT OR GPL-2.0-only) AND Unicode-3.0",
            "MIT OR Apache-2.0 AND GPL-3.0-only",
        ] {
            assert_eq!(is_allowed(good), Ok(true), "{good}");
        }
        for bad in ["GPL-3.0-only", "MIT AND GPL-3.0-only", "(MIT OR ISC) AND AGPL-3.0"] {
            assert_eq!(is_allowed(bad), Ok(false), "{bad}");
        }
        let deep = "(".repeat(100_000);
        for broken in ["", "MIT OR", "(MIT", "MIT)", "MIT ISC", "AND", "mit", "Mine-1.0", &deep] {
            assert!(is_allowed(broken).is_err(), "{}", &broken[..broken.len().min(10)]);
        }
    }
}
