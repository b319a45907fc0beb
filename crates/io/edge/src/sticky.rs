//! Which side of traffic that releases share a client sticks to: by a value of its requests, and nothing is remembered.

use hornero_model::{Pool, Sticky};

/// By what requests stick to a side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stickiness {
    by: Sticky,
    /// The newest release that shares: the same clients are not always the first to meet a new one.
    salt: u32,
}

impl Stickiness {
    /// That of a pool whose requests several releases share.
    pub(crate) fn of(pool: &Pool) -> Option<Self> {
        let by = pool.sticky.clone().filter(|_| pool.traffic.len() > 1)?;
        let salt = pool.traffic.iter().map(|share| share.release.0).max()?;
        Some(Self { by, salt })
    }

    /// The name of the field that tells.
    pub(crate) fn field(&self) -> &str {
        match &self.by {
            Sticky::Cookie(_) => "cookie",
            Sticky::Header(name) => name,
        }
    }

    /// What a request draws instead of chance, from the values of that field: the same for the same client, at every thread
    /// and every edge. None where the request does not tell.
    pub(crate) fn draw<'f>(&self, values: impl Iterator<Item = &'f [u8]>) -> Option<u32> {
        let mut told = values.filter_map(|value| match &self.by {
            Sticky::Cookie(name) => cookie(value, name.as_bytes()),
            Sticky::Header(_) => Some(value),
        });
        let value = told.find(|value| !value.is_empty())?;
        Some(scattered(value, self.salt))
    }
}

/// The value of a cookie in a `Cookie` field (RFC 6265, 5.4); over HTTP/2 there may be several fields.
fn cookie<'f>(field: &'f [u8], name: &[u8]) -> Option<&'f [u8]> {
    field.split(|byte| *byte == b';').find_map(|pair| {
        let pair = pair.trim_ascii();
        let end = memchr::memchr(b'=', pair)?;
        (pair[..end].trim_ascii_end() == name).then(|| pair[end + 1..].trim_ascii_start())
    })
}

/// A number from all of `u32` that follows from a value as if by chance: FNV-1a over it, then the finalizer of MurmurHash3,
/// so that values which differ in their last letter alone lie apart. It is no secret: a client that chooses its value chooses
/// its side.
fn scattered(value: &[u8], salt: u32) -> u32 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in salt.to_le_bytes().iter().chain(value) {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
        hash = (hash ^ (hash >> 33)).wrapping_mul(factor);
    }
    (hash >> 32) as u32
}

#[cfg(test)]
mod tests {
    use hornero_model::Share;

    use super::*;

    fn by(sticky: Sticky) -> Stickiness {
        Stickiness { by: sticky, salt: 7 }
    }

    /// The release of two that a draw falls on, as `LocalPool::drawn` places it: the old one first.
    fn is_new(draw: u32, weight: u32) -> bool {
        (u64::from(draw) * u64::from(Share::WHOLE)) >> 32 >= u64::from(Share::WHOLE - weight)
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let session = by(Sticky::Cookie("session".to_owned()));
        let draw = |fields: &[&str]| session.draw(fields.iter().map(|field| field.as_bytes()));
        let alone = draw(&["session=abc"]);
        assert!(alone.is_some());
        assert_eq!(draw(&["a=1; session=abc; b=2"]), alone);
        assert_eq!(draw(&["a=1", "b=2;session=abc"]), alone);
        assert_ne!(draw(&["session=abd"]), alone);
        for none in
            ["", "session", "session=", "xsession=abc", "Session=abc", "a=session=abc", ";;="]
        {
            assert_eq!(draw(&[none]), None, "{none}");
        }
        let user = by(Sticky::Header("x-user".to_owned()));
        assert_eq!(user.field(), "x-user");
        assert!(user.draw([&b"ann"[..]].into_iter()).is_some());
    }

    #[test]
    fn clients_fall_on_sides_by_weight_and_others_first_with_each_release() {
        let count = |salt: u32, weight: u32| {
            let draws = (0..20_000).map(|of: u32| scattered(format!("user-{of}").as_bytes(), salt));
            draws.filter(|draw| is_new(*draw, weight)).count()
        };
        for (weight, expected) in [(100, 200), (1_000, 2_000), (5_000, 10_000)] {
            let seen = count(7, weight);
            // Five standard deviations of a binomial.
            let allowed = 5.0 * (expected as f64).sqrt();
            assert!((seen as f64 - expected as f64).abs() < allowed, "{seen} of 20000 at {weight}");
        }
        let first = |salt| move |of: &u32| is_new(scattered(&of.to_le_bytes(), salt), 1_000);
        let both = (0..20_000).filter(first(7)).filter(first(8)).count();
        assert!((120..280).contains(&both), "{both} of 20000, a tenth of a tenth by chance");
    }

    proptest::proptest! {
        #[test]
        fn raising_a_share_never_moves_a_client_back(value in proptest::collection::vec(proptest::prelude::any::<u8>(), 1..64), salt in proptest::prelude::any::<u32>(), mut weights in proptest::collection::vec(1_u32..10_000, 2..8)) {
            weights.sort_unstable();
            let draw = scattered(&value, salt);
            let sides: Vec<bool> = weights.iter().map(|weight| is_new(draw, *weight)).collect();
            proptest::prop_assert!(sides.is_sorted(), "{sides:?} at {weights:?}");
        }

        #[test]
        fn any_field_is_read(field in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..128)) {
            let _ = by(Sticky::Cookie("session".to_owned())).draw([&field[..]].into_iter());
        }
    }
}
