//! The highest term of control that somebody who obeys it has heard of, kept so that no control can take it back.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use hornero_model::Term;

use crate::{Opening, directory, open};

/// A directory with an empty file for the highest term, by its number.
///
/// A file's content would not do: a control that stops between reading and writing it, and goes on when a newer one has
/// written, would put its own term in the place of the newer one. Names do not replace each other: the highest counts,
/// whatever comes late. No lock is held that a stopped process could keep.
#[derive(Debug, Clone)]
pub struct Terms {
    directory: PathBuf,
}

/// Why a term is not let in.
#[derive(Debug, thiserror::Error)]
pub enum TermError {
    /// A newer control has taken over.
    #[error(
        "term {given} of control is over: another control process has taken over with term {newest}"
    )]
    Over {
        /// The one given.
        given: Term,
        /// The newest.
        newest: Term,
    },
    /// The record failed.
    #[error("can't {action} `{}`", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Terms {
    /// Those kept in `directory`, which need not be there.
    pub fn of(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// The highest term that was ever let in; the first where none was.
    ///
    /// # Errors
    /// [`TermError::File`].
    pub fn newest(&self) -> Result<Term, TermError> {
        Ok(self.terms()?.into_iter().max().unwrap_or_default())
    }

    /// Lets in what a control of `term` asks, and remembers that term, durably, where it is the highest so far.
    ///
    /// # Errors
    /// [`TermError::Over`] where a higher one was let in before; where that can't be told or kept, nothing is let in.
    pub fn admit(&self, term: Term) -> Result<(), TermError> {
        let newest = self.newest()?;
        if term > newest {
            self.keep(term)?;
        }
        // Looked at anew: another one may have come meanwhile.
        let terms = self.terms()?;
        let newest = terms.iter().copied().max().unwrap_or_default();
        if term < newest {
            return Err(TermError::Over { given: term, newest });
        }
        for older in terms.into_iter().filter(|other| *other < term) {
            // One that stays says nothing beside a higher one.
            let _ = fs::remove_file(self.file(older));
        }
        Ok(())
    }

    fn keep(&self, term: Term) -> Result<(), TermError> {
        directory(&self.directory).map_err(|error| self.failed("make")(error.into()))?;
        open(&self.file(term), Opening::Create).map_err(self.failed("write into"))?;
        let sync = |path: &Path| File::open(path)?.sync_all();
        sync(&self.directory).map_err(self.failed("sync"))?;
        self.directory.parent().map_or(Ok(()), sync).map_err(self.failed("sync"))
    }

    fn terms(&self) -> Result<Vec<Term>, TermError> {
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(self.failed("read"))?,
        };
        let mut terms = Vec::new();
        for entry in entries {
            let name = entry.map_err(self.failed("read"))?.file_name();
            // Whatever has another name was not made here.
            terms.extend(name.to_str().and_then(|name| name.parse().ok()).map(Term));
        }
        Ok(terms)
    }

    fn file(&self, term: Term) -> PathBuf {
        self.directory.join(term.to_string())
    }

    fn failed(&self, action: &'static str) -> impl FnOnce(io::Error) -> TermError + use<> {
        let path = self.directory.clone();
        move |source| TermError::File { action, path, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms() -> (tempfile::TempDir, Terms) {
        let home = tempfile::tempdir().unwrap();
        let terms = Terms::of(&home.path().canonicalize().unwrap().join("terms"));
        (home, terms)
    }

    #[test]
    fn a_term_that_is_over_is_refused_also_by_whoever_looks_anew() {
        let (_home, terms) = terms();
        assert_eq!(terms.newest().unwrap(), Term(0));
        terms.admit(Term(0)).unwrap();
        terms.admit(Term(3)).unwrap();
        terms.admit(Term(3)).unwrap();
        let anew = Terms::of(&terms.directory);
        let refused = anew.admit(Term(2)).unwrap_err();
        assert!(
            matches!(refused, TermError::Over { given: Term(2), newest: Term(3) }),
            "{refused}"
        );
        assert!(anew.admit(Term(0)).is_err(), "nor one from before there were terms");
        anew.admit(Term(10)).unwrap();
        assert_eq!(terms.newest().unwrap(), Term(10), "by number, not by letters");
        assert_eq!(fs::read_dir(&terms.directory).unwrap().count(), 1, "older ones go");
    }

    /// A control that stopped before it wrote, and goes on when a newer one was let in.
    #[test]
    fn what_an_older_one_writes_late_takes_nothing_back() {
        let (_home, terms) = terms();
        terms.admit(Term(6)).unwrap();
        terms.keep(Term(5)).unwrap();
        assert!(terms.admit(Term(5)).is_err());
        assert_eq!(terms.newest().unwrap(), Term(6));
        terms.admit(Term(6)).unwrap();
    }

    #[test]
    fn nothing_is_let_in_where_it_cannot_be_kept() {
        let (home, _) = terms();
        let blocked = home.path().canonicalize().unwrap().join("blocked");
        fs::write(&blocked, b"").unwrap();
        assert!(matches!(Terms::of(&blocked).admit(Term(1)), Err(TermError::File { .. })));
    }
}
