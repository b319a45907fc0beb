//! For how long this control process is the one that is obeyed.

use std::sync::atomic::{AtomicU64, Ordering};

use hornero_model::Term;

/// The term of this control process, shared by all who ask engine and edge for something.
#[derive(Debug, Default)]
pub struct Tenure(AtomicU64);

impl Tenure {
    /// It begins: the ledger says so by now.
    pub fn begin(&self, term: Term) {
        self.0.store(term.0, Ordering::Release);
    }

    /// Its term; the first where it has not begun.
    pub fn term(&self) -> Term {
        Term(self.0.load(Ordering::Acquire))
    }

    /// Why it is over, where somebody has heard of a newer term.
    pub fn over_by(&self, newest: Term) -> Option<String> {
        let term = self.term();
        (!term.is_first() && newest > term).then(|| {
            format!("term {term} of control is over: another control process has taken over with term {newest}")
        })
    }

    /// The term to ask by: its own, or the newest there is for whoever owns a home whose ledger can't be read.
    pub fn or(&self, newest: Term) -> Term {
        let own = self.term();
        if own.is_first() { newest } else { own }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_over_once_a_newer_one_is_heard_of() {
        let tenure = Tenure::default();
        assert_eq!(tenure.over_by(Term(9)), None, "it has not begun");
        assert_eq!(tenure.or(Term(9)), Term(9));
        tenure.begin(Term(3));
        assert_eq!(tenure.over_by(Term(3)), None);
        assert!(tenure.over_by(Term(4)).unwrap().contains("term 4"));
        assert_eq!(tenure.or(Term(4)), Term(3));
    }
}
