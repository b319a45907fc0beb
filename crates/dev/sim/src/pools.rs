//! Which release of a pool a request falls on, and which servers get any.

use std::collections::BTreeSet;

use hornero_model::{Admission, InstanceId, Pool, ReleaseNumber, RouteTable, Share};

use crate::Random;

/// The release that a request falls on. One that gets everything takes nothing from the random numbers.
pub(crate) fn draw(traffic: &[Share], random: &mut Random) -> Option<ReleaseNumber> {
    if let [only] = traffic {
        return Some(only.release);
    }
    draw_one(traffic, random)
}

fn draw_one(shares: &[Share], random: &mut Random) -> Option<ReleaseNumber> {
    let mut place = random.between(0, u64::from(Share::WHOLE) - 1);
    for share in shares {
        match place.checked_sub(u64::from(share.weight)) {
            Some(rest) => place = rest,
            None => return Some(share.release),
        }
    }
    None
}

/// The preview that a request falls on; where there is none, nothing is taken from the random numbers.
pub(crate) fn draw_preview(previews: &[Share], random: &mut Random) -> Option<ReleaseNumber> {
    if previews.is_empty() { None } else { draw_one(previews, random) }
}

/// Whether a pool lets nothing in.
pub(crate) fn is_held(pool: &Pool) -> bool {
    match pool.admission {
        Admission::Open => false,
        Admission::Held { .. } => true,
        Admission::Idle { .. } => !pool.backends.iter().any(|of| pool.receives(of.release)),
    }
}

/// Whether a release gets new requests, be it as that of a preview.
pub(crate) fn gets(pool: &Pool, release: ReleaseNumber) -> bool {
    pool.receives(release) || pool.preview_weight(release) > 0
}

/// The servers that get new requests.
pub(crate) fn receivers(table: &RouteTable) -> BTreeSet<InstanceId> {
    let pools = table.pools.iter();
    let pools = pools.filter(|pool| !is_held(pool));
    let of_pool = |pool: &Pool| {
        let receives = pool.backends.iter().filter(|backend| pool.receives(backend.release));
        receives.map(|backend| backend.instance.clone()).collect::<Vec<_>>()
    };
    pools.flat_map(|pool| of_pool(pool)).collect()
}
