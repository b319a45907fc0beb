//! A plain EROFS image, as the store lays it out.

use hornero_store::erofs::plain_image;

use crate::{
    ExportError, ExportEvent, contents,
    output::Output,
    work::{ExportWork, FormatNotes},
};

pub(crate) fn export(work: &ExportWork<'_>, output: &Output) -> Result<FormatNotes, ExportError> {
    let image = plain_image(work.tree)?;
    let bytes = image.contents.iter().map(|content| content.size).sum();
    work.progress.event(ExportEvent::Started { bytes });
    // All of it, so that the last content's padding is there.
    output.set_len(image.size)?;
    output.write_at(&image.metadata, 0)?;
    contents::write(work.store, &image.contents, 0, output, work.progress)?;
    Ok(FormatNotes::default())
}
