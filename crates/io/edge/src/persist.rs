//! The last good table on disk, so that the edge serves it with no control process at all.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use hornero_home::Opening;
use hornero_model::{BootId, RouteTable};

use crate::{admin::protocol::LINE_LIMIT, error::EdgeError, validity::validate};

/// Version of the file's format; another one is not read.
const FORMAT: u32 = 1;

#[derive(serde::Serialize, serde::Deserialize)]
struct Stored<T> {
    format: u32,
    /// The start of the host on which the addresses in the table are those of its backends; absent in older files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    boot: Option<BootId>,
    table: T,
}

fn file(state_dir: &Path) -> PathBuf {
    state_dir.join("routes.json")
}

/// Writes the table so that after a crash at any moment the file is the old one or the new one, whole.
pub(crate) fn save(
    state_dir: &Path,
    boot: Option<&BootId>,
    table: &RouteTable,
) -> Result<(), EdgeError> {
    let path = file(state_dir);
    let fresh = state_dir.join("routes.json.new");
    let write = || -> io::Result<()> {
        let mut out = hornero_home::open(&fresh, Opening::Replace)?;
        let boot = boot.cloned();
        out.write_all(&serde_json::to_vec(&Stored { format: FORMAT, boot, table })?)?;
        out.sync_all()?;
        fs::rename(&fresh, &path)?;
        File::open(state_dir)?.sync_all()
    };
    write().map_err(|source| EdgeError::State { action: "write", path: path.clone(), source })
}

/// The last good table; an empty one, and a line in the log, where there is none that can be used.
///
/// Invariant: no request goes to a backend of another start of the host: its address may be another instance's by now.
/// Such a table is kept without backends, so that its listeners answer and its generation counts, until control gives
/// the next one.
pub(crate) fn load(state_dir: &Path, boot: Option<&BootId>) -> RouteTable {
    match read(state_dir, boot) {
        Ok(Some(table)) => table,
        Ok(None) => RouteTable::default(),
        Err(reason) => {
            let path = file(state_dir);
            tracing::warn!("can't use `{}`: {reason}; starting without routes", path.display());
            // Kept for whoever wants to know, out of the way of the next table.
            let _ = fs::rename(&path, state_dir.join("routes.json.bad"));
            RouteTable::default()
        }
    }
}

fn read(state_dir: &Path, boot: Option<&BootId>) -> Result<Option<RouteTable>, String> {
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
    let mut table: RouteTable =
        serde_json::from_value(stored.table).map_err(|error| error.to_string())?;
    validate(&table, |_| false).map_err(|fault| fault.to_string())?;
    if boot.is_some() && stored.boot.as_ref() != boot {
        let backends: usize = table.pools.iter().map(|pool| pool.backends.len()).sum();
        tracing::warn!(
            "the table on disk is of another start of the host; its backends are forgotten ({backends})"
        );
        table.pools.iter_mut().for_each(|pool| pool.backends.clear());
    }
    Ok(Some(table))
}

#[cfg(test)]
mod tests {
    use hornero_model::{
        Admission, InstanceId, Pool, PoolBackend, PoolName, Protocol, ReleaseNumber, Share,
    };

    use super::*;

    fn table() -> RouteTable {
        let backend = PoolBackend {
            instance: InstanceId::new("site-1-abc").unwrap(),
            release: ReleaseNumber(1),
            address: "127.0.0.1:8080".parse().unwrap(),
            health: None,
            proxy_protocol: None,
            health_proxy_protocol: None,
        };
        let pool = Pool {
            name: PoolName { service: "site".parse().unwrap(), port: "http".parse().unwrap() },
            protocol: Protocol::Http,
            http2: false,
            idle_timeout: None,
            traffic: vec![Share::whole(ReleaseNumber(1))],
            previews: Vec::new(),
            sticky: None,
            probe: None,
            admission: Admission::Open,
            backends: vec![backend],
            health: None,
        };
        let pools = [pool].into_iter().collect();
        RouteTable { generation: 7, listeners: Default::default(), pools }
    }

    #[test]
    fn backends_are_those_of_one_start_of_the_host() {
        let dir = tempfile::tempdir().unwrap();
        let (this, next) = (BootId::new("this"), BootId::new("next"));
        save(dir.path(), Some(&this), &table()).unwrap();
        assert_eq!(load(dir.path(), Some(&this)), table());
        assert_eq!(load(dir.path(), None), table(), "an edge that knows of no boots");
        let mut emptied = table();
        emptied.pools[0].backends.clear();
        assert_eq!(load(dir.path(), Some(&next)), emptied);
        // As the first versions wrote it: nobody knows when that was.
        save(dir.path(), None, &table()).unwrap();
        assert_eq!(load(dir.path(), Some(&this)), emptied);
    }

    #[test]
    fn a_table_from_before_shares_serves_on() {
        const OLD: &str = r#"{"format":1,"table":{"generation":7,"listeners":[],"pools":[{"name":{"service":"site","port":"http"},"protocol":"http","active":1,"backends":[{"instance":"site-1-abc","release":1,"address":"127.0.0.1:8080"}],"health":null}]}}"#;
        let dir = tempfile::tempdir().unwrap();
        fs::write(file(dir.path()), OLD).unwrap();
        assert_eq!(load(dir.path(), None), table());
        save(dir.path(), None, &table()).unwrap();
        assert_eq!(
            fs::read_to_string(file(dir.path())).unwrap(),
            OLD,
            "and an older edge reads it"
        );
    }
}
