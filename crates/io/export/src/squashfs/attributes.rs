//! Extended attributes: sets of them, equal sets once.

use std::collections::HashMap;

use hornero_store::Entry;

use crate::ExportError;

use super::{format::ABSENT, metadata::Table};

/// The number of an inode without attributes.
pub(super) const NONE: u32 = u32::MAX;
const PREFIXES: [(&[u8], u16); 3] = [(b"user.", 0), (b"trusted.", 1), (b"security.", 2)];

/// All sets, in the order they were met.
#[derive(Debug, Default)]
pub(super) struct Attributes {
    table: Table,
    /// Reference, number of attributes and their bytes of each set.
    sets: Vec<(u64, u32, u32)>,
    numbers: HashMap<Vec<u8>, u32>,
}

impl Attributes {
    /// The number of the entry's set; names in `left_out` what squashfs has no way to hold.
    pub(super) fn add(
        &mut self,
        entry: &Entry,
        left_out: &mut Vec<String>,
    ) -> Result<u32, ExportError> {
        let mut encoded = Vec::new();
        let mut count = 0;
        for (name, value) in &entry.metadata.xattrs {
            let found = PREFIXES.iter().find(|(prefix, _)| name.starts_with(prefix));
            let Some((prefix, number)) = found else {
                let name = String::from_utf8_lossy(name);
                left_out.push(format!("attribute `{name}` of `{}`", entry.path));
                continue;
            };
            let rest = &name[prefix.len()..];
            encoded.extend_from_slice(&number.to_le_bytes());
            encoded.extend_from_slice(&(rest.len() as u16).to_le_bytes());
            encoded.extend_from_slice(rest);
            encoded.extend_from_slice(&(value.len() as u32).to_le_bytes());
            encoded.extend_from_slice(value);
            count += 1;
        }
        if count == 0 {
            return Ok(NONE);
        }
        if let Some(number) = self.numbers.get(&encoded) {
            return Ok(*number);
        }
        let number = self.sets.len() as u32;
        let (block, offset) = self.table.position();
        self.table.put(&encoded);
        self.sets.push((u64::from(block) << 16 | u64::from(offset), count, encoded.len() as u32));
        self.numbers.insert(encoded, number);
        Ok(number)
    }

    /// Writes the tables; gives where the last of them begins.
    pub(super) fn write(
        self,
        put: &mut impl FnMut(&[u8]) -> Result<u64, ExportError>,
    ) -> Result<u64, ExportError> {
        if self.sets.is_empty() {
            return Ok(ABSENT);
        }
        let values = put(&self.table.finish().0)?;
        let mut sets = Table::default();
        for (reference, count, len) in &self.sets {
            sets.put(&reference.to_le_bytes());
            sets.put(&count.to_le_bytes());
            sets.put(&len.to_le_bytes());
        }
        let (bytes, starts) = sets.finish();
        let base = put(&bytes)?;
        let mut header = values.to_le_bytes().to_vec();
        header.extend_from_slice(&(self.sets.len() as u32).to_le_bytes());
        header.extend_from_slice(&0_u32.to_le_bytes());
        header.extend(starts.iter().flat_map(|start| (base + start).to_le_bytes()));
        put(&header)
    }
}
