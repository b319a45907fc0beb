//! Values that many hold and nobody copies before one of them changes it.

use std::{
    borrow::Cow,
    fmt,
    ops::{Deref, DerefMut},
    sync::Arc,
};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A value that its clones share. Changing one of them copies it first, so that the others never see it; two that share one
/// value are compared without a look at it. Written and read as the value itself.
pub struct CopyOnWrite<T>(Arc<T>);

impl<T> CopyOnWrite<T> {
    /// Whether two of them are clones of each other that nobody has changed.
    pub fn is_clone_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> From<T> for CopyOnWrite<T> {
    fn from(value: T) -> Self {
        Self(Arc::new(value))
    }
}

impl<T> Clone for CopyOnWrite<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Default> Default for CopyOnWrite<T> {
    fn default() -> Self {
        T::default().into()
    }
}

impl<T: fmt::Debug> fmt::Debug for CopyOnWrite<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl<T: Eq> PartialEq for CopyOnWrite<T> {
    fn eq(&self, other: &Self) -> bool {
        self.is_clone_of(other) || *self.0 == *other.0
    }
}

impl<T: Eq> Eq for CopyOnWrite<T> {}

impl<T> Deref for CopyOnWrite<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Clone> DerefMut for CopyOnWrite<T> {
    fn deref_mut(&mut self) -> &mut T {
        Arc::make_mut(&mut self.0)
    }
}

/// A list of shared values, from the values.
impl<T> FromIterator<T> for CopyOnWrite<Vec<CopyOnWrite<T>>> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        values.into_iter().map(CopyOnWrite::from).collect::<Vec<_>>().into()
    }
}

impl<'a, T> IntoIterator for &'a CopyOnWrite<Vec<T>> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a, T: Clone> IntoIterator for &'a mut CopyOnWrite<Vec<T>> {
    type Item = &'a mut T;
    type IntoIter = std::slice::IterMut<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}

impl<T: Serialize> Serialize for CopyOnWrite<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for CopyOnWrite<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self::from)
    }
}

impl<T: JsonSchema> JsonSchema for CopyOnWrite<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen_by_nobody_else() {
        let first: CopyOnWrite<Vec<CopyOnWrite<String>>> =
            ["one", "two"].map(str::to_owned).into_iter().collect();
        let mut second = first.clone();
        assert!(second.is_clone_of(&first));
        second[1].push('!');
        assert!(!second.is_clone_of(&first) && second != first);
        assert_eq!((first[1].as_str(), second[1].as_str()), ("two", "two!"));
        assert!(second[0].is_clone_of(&first[0]), "what was not changed is shared on");
        second[1].pop();
        assert_eq!(second, first, "what says the same is the same");
    }

    #[test]
    fn it_is_written_and_read_as_the_value_itself() {
        let shared: CopyOnWrite<Vec<CopyOnWrite<u32>>> = [1, 2].into_iter().collect();
        assert_eq!(serde_json::to_string(&shared).unwrap(), "[1,2]");
        assert_eq!(
            serde_json::from_str::<CopyOnWrite<Vec<CopyOnWrite<u32>>>>("[1,2]").unwrap(),
            shared
        );
    }
}
