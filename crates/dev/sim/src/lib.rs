//! Runs the production rollout loop against a seeded simulated world.
