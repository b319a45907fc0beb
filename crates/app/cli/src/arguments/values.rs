//! Values of arguments, as they are written.

use hornero_model::{Preview, ReleaseNumber, RolloutId};

/// Bytes of a size such as `20GiB`.
pub fn size(text: &str) -> Result<u64, String> {
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let decimal = ["B", "KB", "MB", "GB", "TB"];
    let factor = units.iter().position(|one| *one == unit).map(|power| 1024_u64.pow(power as u32));
    let factor = factor.or_else(|| {
        decimal.iter().position(|one| *one == unit).map(|power| 1000_u64.pow(power as u32))
    });
    let bytes = factor.and_then(|factor| number.parse::<u64>().ok()?.checked_mul(factor));
    bytes.ok_or_else(|| "expected a whole number with a unit, such as `20GiB`".to_owned())
}

/// The number of a release, alone or behind its service.
pub fn release_number(text: &str) -> Result<ReleaseNumber, String> {
    let digits = text.rsplit_once('@').map_or(text, |(_, number)| number);
    digits
        .parse()
        .map(ReleaseNumber)
        .map_err(|_| "expected a release number such as `16`".to_owned())
}

/// A share such as `5%`, in ten-thousandths.
pub fn share(text: &str) -> Result<u32, String> {
    let error = || "expected a share from `0.01%` to `50%`".to_owned();
    let (whole, part) = text
        .strip_suffix('%')
        .map_or((text, ""), |percent| percent.split_once('.').unwrap_or((percent, "")));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !text.ends_with('%') || whole.is_empty() || part.len() > 2 || !digits(whole) || !digits(part)
    {
        return Err(error());
    }
    let share = format!("{whole}{part:0<2}").parse::<u32>().map_err(|_| error())?;
    if (1..=Preview::MOST_SHARED).contains(&share) { Ok(share) } else { Err(error()) }
}

/// The number of a receipt.
pub fn rollout_id(text: &str) -> Result<RolloutId, String> {
    text.parse().map(RolloutId).map_err(|_| "expected a receipt number such as `3`".to_owned())
}

/// A variable and its value.
pub fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected `NAME=VALUE`")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_part_that_leaves_most_to_what_serves() {
        for (text, expected) in [("5%", 500), ("0.5%", 50), ("12.25%", 1225), ("50%", 5000)] {
            assert_eq!(share(text), Ok(expected), "{text}");
        }
        for bad in ["5", "%", "51%", "0%", "0.001%", "-1%", "5.%%", "1e1%", ".5%"] {
            assert!(share(bad).is_err(), "{bad}");
        }
    }
}
