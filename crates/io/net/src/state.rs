//! `network.json`: what a home remembers of its network between runs.

use std::{
    collections::BTreeMap,
    io::Read,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use hornero_home::Opening;
use hornero_model::ServiceName;
use serde::{Deserialize, Serialize};

use crate::{Error, Result, Subnet, lock::open_locked};

/// The version this code reads and writes.
const VERSION: u32 = 1;
/// All service addresses taken, with the longest names, make about 300 kB.
const SIZE_MAX_BYTES: u64 = 1 << 20;

/// What `network.json` holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    version: u32,
    /// For the reader's eye; derived from the path.
    pub bridge: String,
    pub subnet: Subnet,
    #[serde(default)]
    pub services: BTreeMap<ServiceName, Ipv4Addr>,
}

impl State {
    pub fn new(bridge: String, subnet: Subnet) -> Self {
        Self { version: VERSION, bridge, subnet, services: BTreeMap::new() }
    }

    /// Moves everything to another subnet; services keep their place in it.
    pub fn move_to(&mut self, subnet: Subnet) {
        self.subnet = subnet;
        for address in self.services.values_mut() {
            *address = subnet.same_place(*address);
        }
    }
}

/// The path of the state of this home.
pub(crate) fn path(home: &Path) -> PathBuf {
    home.join("network.json")
}

fn file_error(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { action, path, source }
}

/// Reads the state; `None` where the home has none yet.
pub(crate) fn load(home: &Path) -> Result<Option<State>> {
    let path = path(home);
    let file = match hornero_home::open(&path, Opening::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(file_error("open", &path)(error)),
    };
    let mut text = Vec::new();
    file.take(SIZE_MAX_BYTES + 1).read_to_end(&mut text).map_err(file_error("read", &path))?;
    parse(&text).map(Some).map_err(|reason| Error::State { path, reason })
}

fn parse(text: &[u8]) -> std::result::Result<State, String> {
    if text.len() as u64 > SIZE_MAX_BYTES {
        return Err(format!("it is larger than {SIZE_MAX_BYTES} bytes"));
    }
    let state: State = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    if state.version != VERSION {
        return Err(format!("it has version {}, this Hornero knows {VERSION}", state.version));
    }
    let (first, last) = state.subnet.services();
    match state.services.iter().find(|(_, address)| !(first..=last).contains(*address)) {
        Some((name, address)) => {
            Err(format!("the address `{address}` of service `{name}` is none of the services'"))
        }
        None => Ok(state),
    }
}

/// Changes the state under its lock: `change` gets what is there and returns what shall be.
pub(crate) fn update<T>(
    home: &Path,
    change: impl FnOnce(Option<State>) -> Result<(State, T)>,
) -> Result<T> {
    let _lock = open_locked(&home.join("network.lock"))?;
    let before = load(home)?;
    let (after, value) = change(before.clone())?;
    if before.as_ref() != Some(&after) {
        write(home, &after)?;
    }
    Ok(value)
}

fn write(home: &Path, state: &State) -> Result<()> {
    let path = path(home);
    let mut text = serde_json::to_vec_pretty(state)
        .map_err(|error| file_error("write", &path)(error.into()))?;
    text.push(b'\n');
    hornero_home::put(&path, &text).map_err(file_error("write", &path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_state_is_refused_with_the_reason() {
        let good = r#"{"version":1,"bridge":"hrn0","subnet":"10.70.0.0/16","services":{"site":"10.70.1.9"}}"#;
        assert!(parse(good.as_bytes()).is_ok());
        for (change, reason) in [
            (("\"version\":1", "\"version\":2"), "version 2"),
            (("10.70.0.0/16", "10.1.0.0/16"), "not a /16"),
            (("10.70.1.9", "10.70.16.9"), "none of the services'"),
            (("10.70.1.9", "10.71.1.9"), "none of the services'"),
            (("\"site\"", "\"Site\""), "not a valid service name"),
            (("\"bridge\"", "\"bride\""), "unknown field"),
            (("}}", "}"), "EOF"),
        ] {
            let error = parse(good.replace(change.0, change.1).as_bytes()).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
        assert!(parse(&vec![b' '; SIZE_MAX_BYTES as usize + 1]).unwrap_err().contains("larger"));
    }

    #[test]
    fn update_writes_what_load_reads() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(load(home.path()).unwrap(), None);
        let mut state = State::new("hrn0".into(), "10.70.0.0/16".parse().unwrap());
        update(home.path(), |before| {
            assert_eq!(before, None);
            Ok((state.clone(), ()))
        })
        .unwrap();
        state.services.insert(ServiceName::new("a").unwrap(), Ipv4Addr::new(10, 70, 1, 0));
        update(home.path(), |before| {
            assert!(before.is_some());
            Ok((state.clone(), ()))
        })
        .unwrap();
        assert_eq!(load(home.path()).unwrap(), Some(state));
    }
}
