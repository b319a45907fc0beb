//! The journalled state as each format wrote it: it is read for ever, and what is written now is pinned.

use hornero_model::JournalEntry;

use crate::Rollout;

/// From a home of 0.1.0 that lost its power while it watched a new release.
const FORMAT_1: &str = r#"{"baseline":{"failed_from":0,"failed_to":0},"by":{"who":"root","why":"the third page"},"cut_off":null,"failure":{"cause":{"code":3},"instance":"site-4-eyq9kiby","log_tail":["no such upstream"],"reason":"it exited","refused":null},"from":2,"id":4,"kind":"forward","old":["site-2-6efytxnw"],"phase":"watching","requested":"2026-11-28T21:17:23.602Z","returned":null,"service":"site","set":["site-4-eyq9kiby"],"since":"2026-11-28T21:17:23.689Z","stays":false,"switch":{"at":"2026-11-28T21:17:23.689Z","generation":14,"in_flight":0,"switch_ms":0.181599},"to":4,"warm":false}"#;

#[test]
fn what_the_first_format_wrote_is_read_and_said_again() {
    let rollout: Rollout = serde_json::from_str(FORMAT_1).unwrap();
    let entry: JournalEntry = rollout.entry();
    let then: serde_json::Value = serde_json::from_str(FORMAT_1).unwrap();
    // A field that is added later may stand beside these, with a default for states from before it.
    for (name, value) in then.as_object().unwrap() {
        assert_eq!(entry.state.get(name), Some(value), "`{name}` is kept for ever");
    }
}

#[test]
fn each_field_since_the_first_format_may_be_missing() {
    let then: serde_json::Value = serde_json::from_str(FORMAT_1).unwrap();
    let rollout: Rollout = serde_json::from_value(then.clone()).unwrap();
    let now = rollout.entry().state;
    for name in now.as_object().unwrap().keys().filter(|name| then.get(*name).is_none()) {
        let mut without = now.clone();
        without.as_object_mut().unwrap().remove(name);
        assert!(
            serde_json::from_value::<Rollout>(without).is_ok(),
            "`{name}` is new: it needs a default, or no control starts on a home of before"
        );
    }
}
