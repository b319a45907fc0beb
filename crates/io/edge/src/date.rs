//! The date as HTTP writes it (RFC 9110, 5.6.7), such as `Sun, 06 Nov 1994 08:49:37 GMT`.

use std::{io::Write as _, time::SystemTime};

use httpdate::HttpDate;

/// Its length.
pub(crate) const DATE_BYTES: usize = 29;

/// The date of `time`, in bytes that need no memory of their own.
pub(crate) fn http_date(time: SystemTime) -> [u8; DATE_BYTES] {
    let mut date = [b' '; DATE_BYTES];
    // Every date has this length.
    let _ = write!(&mut date[..], "{}", HttpDate::from(time));
    date
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, date) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (253_402_300_799, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            let of = http_date(UNIX_EPOCH + Duration::from_secs(seconds));
            assert_eq!(std::str::from_utf8(&of), Ok(date));
        }
    }
}
