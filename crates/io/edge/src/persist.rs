//! The last good table on disk, so that the edge serves it with no control process at all.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use hornero_home::Opening;
use hornero_model::RouteTable;

use crate::{admin::protocol::LINE_LIMIT, error::EdgeError, table::validate};

/// Version of the file's format; another one is not read.
const FORMAT: u32 = 1;

#[derive(serde::Serialize, serde::Deserialize)]
struct Stored<T> {
    format: u32,
    table: T,
}

fn file(state_dir: &Path) -> PathBuf {
    state_dir.join("routes.json")
}

/// Writes the table so that after a crash at any moment the file is the old one or the new one, whole.
pub(crate) fn save(state_dir: &Path, table: &RouteTable) -> Result<(), EdgeError> {
    let path = file(state_dir);
    let fresh = state_dir.join("routes.json.new");
    let write = || -> io::Result<()> {
        let mut out = hornero_home::open(&fresh, Opening::Replace)?;
        out.write_all(&serde_json::to_vec(&Stored { format: FORMAT, table })?)?;
        out.sync_all()?;
        fs::rename(&fresh, &path)?;
        File::open(state_dir)?.sync_all()
    };
    write().map_err(|source| EdgeError::State { action: "write", path: path.clone(), source })
}

/// The last good table; an empty one, and a line on stderr, where there is none that can be used.
pub(crate) fn load(state_dir: &Path) -> RouteTable {
    match read(state_dir) {
        Ok(Some(table)) => table,
        Ok(None) => RouteTable::default(),
        Err(reason) => {
            let path = file(state_dir);
            eprintln!("edge: can't use `{}`: {reason}; starting without routes", path.display());
            // Kept for whoever wants to know, out of the way of the next table.
            let _ = fs::rename(&path, state_dir.join("routes.json.bad"));
            RouteTable::default()
        }
    }
}

fn read(state_dir: &Path) -> Result<Option<RouteTable>, String> {
    let opened = match hornero_home::open(&file(state_dir), Opening::Read) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let mut text = Vec::new();
    opened.take(LINE_LIMIT as u64).read_to_end(&mut text).map_err(|error| error.to_string())?;
    let stored: Stored<serde_json::Value> =
        serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    if stored.format != FORMAT {
        return Err(format!("its format is {}, this version reads {FORMAT}", stored.format));
    }
    let table: RouteTable =
        serde_json::from_value(stored.table).map_err(|error| error.to_string())?;
    validate(&table).map_err(|fault| fault.to_string())?;
    Ok(Some(table))
}
