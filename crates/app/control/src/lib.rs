//! The control process: joins the ledger, planner, rollout driver, engine and edge.
