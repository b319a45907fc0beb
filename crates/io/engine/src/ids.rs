//! Ranges of host ids for instances: each running instance of a home has one of its own.

use std::collections::BTreeSet;

use hornero_model::{Digest, InstanceId};
use hornero_sandbox::IdMap;

/// Ids of one instance: what Debian uses, `nobody` (65534) included.
const IDS: u32 = 65_536;
/// Above what distributions give to users (`/etc/subuid` begins at 100000) and to systemd's own containers.
const FIRST: u32 = 0x4000_0000;
/// Up to 0x60000000, where the ids of build steps, playbooks and git begin: what bakes is nobody to what serves.
const RANGES: u32 = 0x2000;

/// A range that is not in `used`: the one that the id's hash points at, or the next free one.
pub(crate) fn choose(home: &str, id: &InstanceId, used: &BTreeSet<u32>) -> Option<IdMap> {
    let digest = Digest::of(format!("{home}\n{id}").as_bytes());
    let bytes = digest.as_bytes();
    let begin = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    (0..RANGES)
        .map(|step| FIRST + (begin.wrapping_add(step) % RANGES) * IDS)
        .find(|first| !used.contains(first))
        .map(|first| IdMap { first, count: IDS })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_never_overlap() {
        let id = InstanceId::new("site-1-x").unwrap();
        let mut used: BTreeSet<u32> = (0..RANGES).map(|range| FIRST + range * IDS).collect();
        assert!(used.last().is_some_and(|last| *last + IDS <= 0x6000_0000));
        assert_eq!(choose("/home", &id, &used), None);
        for range in [0, 7, RANGES - 1] {
            let first = FIRST + range * IDS;
            used.remove(&first);
            assert_eq!(choose("/home", &id, &used), Some(IdMap { first, count: IDS }));
            used.insert(first);
        }
        let free = choose("/home", &id, &BTreeSet::new()).expect("a free range");
        let next = choose("/home", &id, &BTreeSet::from([free.first])).expect("a free range");
        assert!(next.first.abs_diff(free.first) >= IDS);
    }
}
