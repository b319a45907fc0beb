//! SPDX licence expressions: whether one can be met with the licences that are allowed.

/// Licences that ask for no more than a notice, or for their own files only (MPL-2.0).
pub const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "Unicode-3.0",
    "Unicode-DFS-2016",
    "Unlicense",
    "Zlib",
];

/// Whether `expression` can be met with allowed licences; an error where it can't be read.
pub fn is_allowed(expression: &str) -> Result<bool, String> {
    // Before SPDX expressions, `/` stood for OR.
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut parser = Parser { words: spaced.split_whitespace().collect(), at: 0, depth: 0 };
    let allowed = parser.any()?;
    match parser.peek() {
        None => Ok(allowed),
        Some(word) => Err(format!("`{word}` stands where nothing should")),
    }
}

/// Expressions nest once or twice; a deeper one is no licence but an attack on the stack.
const MAX_DEPTH: u32 = 32;

struct Parser<'a> {
    words: Vec<&'a str>,
    at: usize,
    depth: u32,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.words.get(self.at).copied()
    }

    fn take(&mut self, word: &str) -> bool {
        let found = self.peek() == Some(word);
        self.at += usize::from(found);
        found
    }

    fn any(&mut self) -> Result<bool, String> {
        let mut allowed = self.all()?;
        while self.take("OR") {
            allowed |= self.all()?;
        }
        Ok(allowed)
    }

    fn all(&mut self) -> Result<bool, String> {
        let mut allowed = self.one()?;
        while self.take("AND") {
            allowed &= self.one()?;
        }
        Ok(allowed)
    }

    fn one(&mut self) -> Result<bool, String> {
        if self.take("(") {
            self.depth += 1;
            if self.depth > MAX_DEPTH {
                return Err("it nests too deep".to_owned());
            }
            let allowed = self.any()?;
            self.depth -= 1;
            return if self.take(")") { Ok(allowed) } else { Err("a `)` is missing".to_owned()) };
        }
        let word = self.peek().ok_or("a licence is missing")?;
        if matches!(word, "AND" | "OR" | "WITH" | ")") {
            return Err(format!("`{word}` stands where a licence should"));
        }
        self.at += 1;
        // An exception only ever allows more.
        if self.take("WITH") && self.peek().is_some() {
            self.at += 1;
        }
        Ok(ALLOWED.contains(&word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_read_as_spdx_says() {
        for good in [
            "MIT",
            "MIT/Apache-2.0",
            "GPL-3.0-only OR MIT",
            "Apache-2.0 WITH LLVM-exception",
            "(MIT OR GPL-2.0-only) AND Unicode-3.0",
            "MIT OR Apache-2.0 AND GPL-3.0-only",
        ] {
            assert_eq!(is_allowed(good), Ok(true), "{good}");
        }
        for bad in ["GPL-3.0-only", "MIT AND GPL-3.0-only", "(MIT OR ISC) AND AGPL-3.0", "mit"] {
            assert_eq!(is_allowed(bad), Ok(false), "{bad}");
        }
        for broken in ["", "MIT OR", "(MIT", "MIT)", "MIT ISC", "AND", &"(".repeat(100_000)] {
            assert!(is_allowed(broken).is_err());
        }
    }
}
