//! Which packages changed, for people.

use hornero_bake::PackageChange;

use crate::{
    failure::Failure,
    output::{Table, Tone},
};

/// Which packages changed, as a table.
pub fn tell(changes: &[PackageChange]) -> Result<(), Failure> {
    let mut table = Table::with_head(&["IMAGE", "PACKAGE", "OLD", "NEW", "FROM"]);
    for change in changes {
        let dash = || "-".to_owned();
        let from = if change.security { ("security", Tone::Passing) } else { ("", Tone::Plain) };
        table.row(vec![
            (change.image.to_string(), Tone::Plain),
            (change.package.clone(), Tone::Plain),
            (change.old.clone().unwrap_or_else(dash), Tone::Quiet),
            (change.new.clone().unwrap_or_else(dash), Tone::Plain),
            (from.0.to_owned(), from.1),
        ]);
    }
    table.print()
}
