//! Folds the ledger's events into the known world and says what a spec would change in it.
