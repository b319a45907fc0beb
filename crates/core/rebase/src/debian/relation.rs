//! Relations between packages: `Depends`, `Conflicts`, `Provides` and their like (Debian Policy 7.1).

use std::{cmp::Ordering, fmt};

use super::version;

/// Packages that only bring others may name some thousand. A field that goes far beyond is refused, so that a hostile index
/// does not make the resolver work for ever.
const MAX_GROUPS: usize = 100_000;

/// How a version must stand to the one named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `<<`
    Earlier,
    /// `<=`
    EarlierOrEqual,
    /// `=`
    Equal,
    /// `>=`
    LaterOrEqual,
    /// `>>`
    Later,
}

impl Operator {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Earlier => order == Ordering::Less,
            Self::EarlierOrEqual => order != Ordering::Greater,
            Self::Equal => order == Ordering::Equal,
            Self::LaterOrEqual => order != Ordering::Less,
            Self::Later => order == Ordering::Greater,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Earlier => "<<",
            Self::EarlierOrEqual => "<=",
            Self::Equal => "=",
            Self::LaterOrEqual => ">=",
            Self::Later => ">>",
        }
    }
}

/// One package named in a relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relation<'a> {
    /// The package's name.
    pub name: &'a str,
    /// The architecture qualifier after `:`.
    pub qualifier: Option<&'a str>,
    /// The version asked for.
    pub version: Option<(Operator, &'a str)>,
}

impl Relation<'_> {
    /// Whether a package of this version satisfies the version asked for.
    pub fn accepts(&self, candidate: &str) -> bool {
        self.version
            .is_none_or(|(operator, wanted)| operator.holds(version::compare(candidate, wanted)))
    }

    /// Whether a `Provides` with this version satisfies it: an unversioned one satisfies no version.
    pub fn accepts_provided(&self, provided: Option<&str>) -> bool {
        match (self.version, provided) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(_), Some(provided)) => self.accepts(provided),
        }
    }

    /// Whether it can mean a package of the native architecture.
    pub fn is_native(&self, architecture: &str) -> bool {
        self.qualifier.is_none_or(|qualifier| {
            matches!(qualifier, "any" | "native" | "all") || qualifier == architecture
        })
    }
}

impl fmt::Display for Relation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        if let Some(qualifier) = self.qualifier {
            write!(f, ":{qualifier}")?;
        }
        if let Some((operator, version)) = self.version {
            write!(f, " ({} {version})", operator.text())?;
        }
        Ok(())
    }
}

/// Why a relation field cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a relation between packages")]
pub struct RelationError(pub String);

/// Parses a field: groups separated by commas, alternatives by bars.
pub fn parse(field: &str) -> Result<Vec<Vec<Relation<'_>>>, RelationError> {
    let mut groups = Vec::new();
    for group in field.split(',') {
        if group.trim().is_empty() {
            continue;
        }
        if groups.len() == MAX_GROUPS {
            let beginning: String = field.chars().take(60).collect();
            return Err(RelationError(format!("{beginning}… with more than {MAX_GROUPS} parts")));
        }
        groups.push(group.split('|').map(parse_one).collect::<Result<Vec<_>, _>>()?);
    }
    Ok(groups)
}

/// Parses one name with its qualifier and version.
pub fn parse_one(text: &str) -> Result<Relation<'_>, RelationError> {
    let error = || RelationError(text.trim().chars().take(120).collect());
    let text = text.trim();
    let (head, version) = match text.split_once('(') {
        None => (text, None),
        Some((head, rest)) => {
            let (inner, tail) = rest.split_once(')').ok_or_else(error)?;
            if !tail.trim().is_empty() {
                return Err(error());
            }
            (head.trim_end(), Some(parse_version(inner.trim()).ok_or_else(error)?))
        }
    };
    let (name, qualifier) = match head.split_once(':') {
        None => (head, None),
        Some((name, qualifier)) => (name, Some(qualifier)),
    };
    if !is_package_name(name) || qualifier.is_some_and(|text| !is_package_name(text)) {
        return Err(error());
    }
    Ok(Relation { name, qualifier, version })
}

fn parse_version(text: &str) -> Option<(Operator, &str)> {
    let split = text.find(|char: char| !matches!(char, '<' | '>' | '='))?;
    let (operator, version) = text.split_at(split);
    let version = version.trim();
    let operator = match operator {
        "<<" => Operator::Earlier,
        "<=" | "<" => Operator::EarlierOrEqual,
        "=" => Operator::Equal,
        ">=" | ">" => Operator::LaterOrEqual,
        ">>" => Operator::Later,
        _ => return None,
    };
    (!version.is_empty() && !version.contains(char::is_whitespace)).then_some((operator, version))
}

/// Whether a text can be a package's name (Debian Policy 5.6.7; upper case appears in old archives).
pub fn is_package_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() <= 200
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.' | b'_'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_alternatives_versions_and_qualifiers() {
        let groups =
            parse("libc6 (>= 2.36), debconf (>= 0.5)|debconf-2.0 , python3:any, foo:i386 (<<1)")
                .unwrap();
        let shown: Vec<String> = groups
            .iter()
            .map(|group| group.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | "))
            .collect();
        assert_eq!(
            shown,
            ["libc6 (>= 2.36)", "debconf (>= 0.5) | debconf-2.0", "python3:any", "foo:i386 (<< 1)"]
        );
        assert!(groups[2][0].is_native("amd64"));
        assert!(!groups[3][0].is_native("amd64"));
    }

    #[test]
    fn provides_need_a_version_when_one_is_asked() {
        let relation = parse_one("mta (>= 2)").unwrap();
        assert!(!relation.accepts_provided(None));
        assert!(!relation.accepts_provided(Some("1")));
        assert!(relation.accepts_provided(Some("2")));
    }

    #[test]
    fn long_fields_are_read_whole_or_refused_with_the_reason() {
        let field = |count: usize| {
            (0..count).map(|number| format!("p{number}")).collect::<Vec<_>>().join(", ")
        };
        for count in [4_097, 5_000, MAX_GROUPS] {
            assert_eq!(parse(&field(count)).unwrap().len(), count);
        }
        let error = parse(&field(MAX_GROUPS + 1)).unwrap_err().to_string();
        assert!(
            error.starts_with("`p0, p1") && error.contains("more than 100000 parts"),
            "{error}"
        );
    }

    #[test]
    fn refuses_what_is_no_relation() {
        for bad in ["a (", "a (1)", "a (>=)", "a (>= 1) b", "-a", "a b", "a:", "../a", "a | | b"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,80}") {
            let _ = parse(&text);
        }
    }
}
