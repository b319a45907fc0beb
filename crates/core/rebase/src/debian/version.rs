//! Debian versions: their parts and their order (Debian Policy 5.6.12, deb-version(7)).

use std::cmp::Ordering;

/// Compares two versions as dpkg does. Text that is no valid version still has a total order.
pub fn compare(left: &str, right: &str) -> Ordering {
    let (left_epoch, left_rest) = split_epoch(left);
    let (right_epoch, right_rest) = split_epoch(right);
    let (left_upstream, left_revision) = split_revision(left_rest);
    let (right_upstream, right_revision) = split_revision(right_rest);
    compare_digits(left_epoch.as_bytes(), right_epoch.as_bytes())
        .then_with(|| compare_part(left_upstream.as_bytes(), right_upstream.as_bytes()))
        .then_with(|| compare_part(left_revision.as_bytes(), right_revision.as_bytes()))
}

/// The version without its epoch, as file names carry it.
pub fn without_epoch(version: &str) -> &str {
    split_epoch(version).1
}

fn split_epoch(version: &str) -> (&str, &str) {
    version.split_once(':').unwrap_or(("0", version))
}

fn split_revision(version: &str) -> (&str, &str) {
    version.rsplit_once('-').unwrap_or((version, ""))
}

/// `~` sorts before the end, the end before letters, letters before everything else.
fn order(byte: Option<u8>) -> i32 {
    match byte {
        None => 0,
        Some(digit) if digit.is_ascii_digit() => 0,
        Some(b'~') => -1,
        Some(letter) if letter.is_ascii_alphabetic() => i32::from(letter),
        Some(other) => i32::from(other) + 256,
    }
}

fn compare_part(mut left: &[u8], mut right: &[u8]) -> Ordering {
    while !left.is_empty() || !right.is_empty() {
        loop {
            let left_text = left.first().is_some_and(|byte| !byte.is_ascii_digit());
            let right_text = right.first().is_some_and(|byte| !byte.is_ascii_digit());
            if !left_text && !right_text {
                break;
            }
            let by_text = order(left.first().copied()).cmp(&order(right.first().copied()));
            if by_text != Ordering::Equal {
                return by_text;
            }
            left = left.get(1..).unwrap_or_default();
            right = right.get(1..).unwrap_or_default();
        }
        let left_digits = digits(left);
        let right_digits = digits(right);
        let by_number = compare_digits(&left[..left_digits], &right[..right_digits]);
        if by_number != Ordering::Equal {
            return by_number;
        }
        left = &left[left_digits..];
        right = &right[right_digits..];
    }
    Ordering::Equal
}

fn digits(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// Compares decimal numbers of any length; the empty one is 0.
fn compare_digits(left: &[u8], right: &[u8]) -> Ordering {
    let strip = |text: &[u8]| text.iter().take_while(|byte| **byte == b'0').count();
    let left = &left[strip(left)..];
    let right = &right[strip(right)..];
    left.len().cmp(&right.len()).then_with(|| left.cmp(right))
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "dpkg itself is asked")]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_orders() {
        for (left, right) in [
            ("1.0~rc1", "1.0"),
            ("1.0", "1.0a"),
            ("1.0-1", "1.0-1+b1"),
            ("1.22.1-9", "1.22.1-9+deb12u1"),
            ("9", "10"),
            ("1.9", "1:0.1"),
            ("1.0~~", "1.0~"),
            ("2.0-1~bpo1", "2.0-1"),
            ("1.0a", "1.0+"),
        ] {
            assert_eq!(compare(left, right), Ordering::Less, "{left} {right}");
            assert_eq!(compare(right, left), Ordering::Greater, "{right} {left}");
        }
        assert_eq!(compare("0:1.00-0", "1.0"), Ordering::Equal);
    }

    fn dpkg_says(left: &str, operator: &str, right: &str) -> Option<bool> {
        let status = Command::new("dpkg")
            .args(["--compare-versions", left, operator, right])
            .status()
            .ok()?;
        Some(status.success())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn agrees_with_dpkg(
            left in "([0-9]:)?[0-9][0-9a-c.+~]{0,6}(-[0-9a-b+.~]{1,4})?",
            right in "([0-9]:)?[0-9][0-9a-c.+~]{0,6}(-[0-9a-b+.~]{1,4})?",
        ) {
            if let Some(lower) = dpkg_says(&left, "lt", &right) {
                let equal = dpkg_says(&left, "eq", &right).unwrap();
                let expected = match (lower, equal) {
                    (true, _) => Ordering::Less,
                    (_, true) => Ordering::Equal,
                    _ => Ordering::Greater,
                };
                prop_assert_eq!(compare(&left, &right), expected, "{} {}", left, right);
            }
        }
    }

    proptest! {
        #[test]
        fn is_an_order(a in ".{0,12}", b in ".{0,12}") {
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            prop_assert_eq!(compare(&a, &a), Ordering::Equal);
        }
    }
}
