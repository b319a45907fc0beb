//! When a certificate begins and ends: the one field of it that the edge reads itself.

use super::der::element;

/// Tags of elements (X.690, 8.1.2).
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const VERSION: u8 = 0xa0;

/// The last second of a certificate in DER, since 1970; none where it can't be read.
pub(super) fn not_after(certificate: &[u8]) -> Option<i64> {
    validity(certificate).map(|(_, not_after)| not_after)
}

/// The first and the last second of a certificate in DER, since 1970 (RFC 5280, 4.1.2.5); none where they can't be read.
pub(crate) fn validity(certificate: &[u8]) -> Option<(i64, i64)> {
    let signed = element(element(certificate)?.content)?;
    let mut rest = signed.content;
    if rest.first() == Some(&VERSION) {
        rest = element(rest)?.rest;
    }
    // Serial number, algorithm and issuer.
    for _ in 0..3 {
        rest = element(rest)?.rest;
    }
    let not_before = element(element(rest)?.content)?;
    let not_after = element(not_before.rest)?;
    let first = seconds(not_before.tag, not_before.content)?;
    Some((first, seconds(not_after.tag, not_after.content)?))
}

/// `YYMMDDHHMMSSZ`, of 1950 to 2049, or `YYYYMMDDHHMMSSZ`.
fn seconds(tag: u8, text: &[u8]) -> Option<i64> {
    let digits = text.strip_suffix(b"Z")?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number =
        |digits: &[u8]| digits.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
    let (year, rest) = match (tag, digits.len()) {
        (UTC_TIME, 12) => {
            let year = number(&digits[..2]);
            (if year < 50 { 2000 + year } else { 1900 + year }, &digits[2..])
        }
        (GENERALIZED_TIME, 14) => (number(&digits[..4]), &digits[4..]),
        _ => return None,
    };
    let two = |at: usize| number(&rest[at..at + 2]);
    let [month, day, hour, minute, second] = [two(0), two(2), two(4), two(6), two(8)];
    let fits = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60;
    fits.then(|| ((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second)
}

/// Days from 1970 to a day of the Gregorian calendar: years are counted from March, so that leap days are last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (cycle, of_cycle) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    cycle * 146_097 + of_cycle * 365 + of_cycle / 4 - of_cycle / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        let utc = |text: &str| seconds(UTC_TIME, text.as_bytes());
        let general = |text: &str| seconds(GENERALIZED_TIME, text.as_bytes());
        assert_eq!(utc("700101000000Z"), Some(0));
        assert_eq!(utc("491231235959Z"), Some(2_524_607_999));
        assert_eq!(utc("500101000000Z"), Some(-631_152_000));
        assert_eq!(general("20000229120000Z"), Some(951_825_600));
        assert_eq!(general("20240301000000Z"), Some(1_709_251_200));
        assert_eq!(general("99991231235959Z"), Some(253_402_300_799));
        for bad in
            ["", "Z", "20240301000000", "20241301000000Z", "20240300000000Z", "2024030100000Z"]
        {
            assert_eq!((utc(bad), general(bad)), (None, None), "{bad}");
        }
    }

    #[test]
    fn a_certificate_that_openssl_made_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("der");
        let made = std::process::Command::new("faketime")
            .args(["2030-01-02 03:04:05", "openssl", "req", "-x509", "-newkey", "ec", "-nodes"])
            .args(["-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", "/CN=a", "-days", "1"])
            .args(["-keyout", "/dev/null", "-outform", "DER", "-out"])
            .arg(&path)
            .env("TZ", "UTC")
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let end = not_after(&std::fs::read(path).unwrap()).unwrap();
        let expected = general_seconds("20300103030405Z");
        // The clock goes on.
        assert!((expected..expected + 60).contains(&end), "{end}");
    }

    fn general_seconds(text: &str) -> i64 {
        seconds(GENERALIZED_TIME, text.as_bytes()).unwrap()
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_end_some_time_or_never(bytes in proptest::prelude::any::<Vec<u8>>()) {
            let _ = not_after(&bytes);
        }
    }
}
