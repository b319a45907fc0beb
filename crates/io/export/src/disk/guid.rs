//! Identifiers of partitions and of their types.

/// A GUID as it is stored: its first three parts little endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Guid(pub [u8; 16]);

impl Guid {
    /// The GUID that is written as these four numbers; of the last one, a hyphen follows the first two bytes.
    pub(super) const fn of(first: u32, second: u16, third: u16, last: u64) -> Self {
        let ([a, b, c, d], [e, f], [g, h]) =
            (first.to_le_bytes(), second.to_le_bytes(), third.to_le_bytes());
        let [i, j, k, l, m, n, o, p] = last.to_be_bytes();
        Self([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p])
    }

    /// As it is stored.
    #[cfg(test)]
    pub(super) const fn bytes(self) -> [u8; 16] {
        self.0
    }
}
