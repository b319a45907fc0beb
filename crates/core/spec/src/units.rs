//! Sizes and spans of time as people write them.

use hornero_model::Millis;

const DURATION_UNITS: [(&str, u64); 6] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
    ("w", 604_800_000),
];

const SIZE_UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

/// Why a text is no size or span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnitError {
    /// It does not have the form of one.
    Form,
    /// It does not fit in 64 bits.
    Overflow,
}

/// A span such as `500ms`, `30s` or `1h30m`: whole numbers, each with a unit of `ms`, `s`, `m`, `h`, `d` or `w`.
pub(crate) fn duration(text: &str) -> Result<Millis, UnitError> {
    let mut rest = text;
    let mut total: u64 = 0;
    if rest.is_empty() {
        return Err(UnitError::Form);
    }
    while !rest.is_empty() {
        let (number, after) = digits(rest)?;
        let length = after.find(|letter: char| letter.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(length);
        let (_, factor) =
            DURATION_UNITS.iter().find(|(name, _)| *name == unit).ok_or(UnitError::Form)?;
        total = number
            .checked_mul(*factor)
            .and_then(|part| total.checked_add(part))
            .ok_or(UnitError::Overflow)?;
        rest = after;
    }
    Ok(Millis(total))
}

/// A size in bytes such as `64KiB` or `10 GiB`: a whole number and a unit of `B`, `KiB`, `MiB`, `GiB`, `TiB` (by
/// 1024) or `KB`, `MB`, `GB`, `TB` (by 1000).
pub(crate) fn size(text: &str) -> Result<u64, UnitError> {
    let (number, unit) = digits(text)?;
    let unit = unit.strip_prefix(' ').unwrap_or(unit);
    let (_, factor) = SIZE_UNITS.iter().find(|(name, _)| *name == unit).ok_or(UnitError::Form)?;
    number.checked_mul(*factor).ok_or(UnitError::Overflow)
}

/// The size that a text such as `10G` or `64 mib` was meant to be.
pub(crate) fn size_meant(text: &str) -> Option<String> {
    let (number, unit) = digits(text).ok()?;
    let unit = unit.trim().to_lowercase();
    let exact = SIZE_UNITS.iter().find(|(name, _)| name.to_lowercase() == unit);
    let short = || {
        SIZE_UNITS.iter().find(|(name, _)| {
            name.to_lowercase()
                .strip_suffix("ib")
                .is_some_and(|letter| unit == letter || unit.strip_suffix('i') == Some(letter))
        })
    };
    exact.or_else(short).map(|(name, _)| format!("{number}{name}"))
}

fn digits(text: &str) -> Result<(u64, &str), UnitError> {
    let length = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(length);
    if number.is_empty() {
        return Err(UnitError::Form);
    }
    Ok((number.parse().map_err(|_| UnitError::Overflow)?, rest))
}

/// A size for people, in the largest unit that divides it.
pub(crate) fn size_text(bytes: u64) -> String {
    let (name, factor) = SIZE_UNITS[..5]
        .iter()
        .rev()
        .find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor))
        .unwrap_or(&SIZE_UNITS[0]);
    format!("{}{name}", bytes / factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, ms) in [("500ms", 500), ("30s", 30_000), ("1h30m", 5_400_000), ("0s", 0)] {
            assert_eq!(duration(text), Ok(Millis(ms)), "{text}");
        }
        for text in ["", "5", "s", "5 s", "1.5s", "-1s", "5x", "5ss", "١s", "1h30"] {
            assert_eq!(duration(text), Err(UnitError::Form), "{text}");
        }
        for text in ["99999999999999999999s", "18446744073709551615w", "18446744073709551615ms1ms"]
        {
            assert_eq!(duration(text), Err(UnitError::Overflow), "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in
            [("1B", 1), ("64KiB", 65_536), ("10 GiB", 10 << 30), ("1KB", 1_000), ("0B", 0)]
        {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "64", "KiB", "64kib", "64  KiB", "1.5GiB", "-1B", "64 KiB ", "64Ki"] {
            assert_eq!(size(text), Err(UnitError::Form), "{text}");
        }
        for text in ["99999999999999999999B", "18446744073709551615TiB"] {
            assert_eq!(size(text), Err(UnitError::Overflow), "{text}");
        }
        for (text, meant) in
            [("10G", "10GiB"), ("64 mib", "64MiB"), ("1Ki", "1KiB"), ("5kb", "5KB")]
        {
            assert_eq!(size_meant(text).as_deref(), Some(meant), "{text}");
        }
        assert_eq!(size_meant("5x"), None);
        assert_eq!(size_text(64 << 20), "64MiB");
        assert_eq!(size_text(1_000), "1000B");
        assert_eq!(size_text(0), "0B");
    }
}
