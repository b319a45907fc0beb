//! Facts in any order: whatever happens when, the invariants hold and it ends whole.

#![allow(clippy::too_many_lines, reason = "cases stand in tables")]

use hornero_model::{EventBody, Health, Millis, ReleaseNumber, Share};
use proptest::prelude::*;

use super::{Bench, root, site, spec};
use crate::{Effect, Phase, start_down, start_forward, start_rollback};

#[derive(Debug, Clone)]
enum Input {
    Forward(u8),
    Rollback,
    Down,
    Do(usize),
    Exit(usize),
    Health(usize, bool),
    Pass(u64),
    InFlight(u8, u64),
    TestFails,
    EdgeLost,
}

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        2 => (0..4_u8).prop_map(Input::Forward),
        1 => Just(Input::Rollback),
        1 => Just(Input::Down),
        20 => (0..8_usize).prop_map(Input::Do),
        1 => (0..8_usize).prop_map(Input::Exit),
        2 => (0..8_usize, any::<bool>()).prop_map(|(index, good)| Input::Health(index, good)),
        4 => (1..3_000_u64).prop_map(Input::Pass),
        3 => (1..4_u8, 0..3_u64).prop_map(|(release, count)| Input::InFlight(release, count)),
        1 => Just(Input::TestFails),
        1 => Just(Input::EdgeLost),
    ]
}

fn apply(bench: &mut Bench, input: &Input) {
    let (world, facts) = (bench.world.clone(), bench.facts.clone());
    let instances: Vec<_> = world.instances.keys().cloned().collect();
    match input {
        Input::Forward(image) => {
            let spec = spec(&format!("image {image}"), 2);
            let begun = start_forward(&world, &facts, &spec, &root(), &mut || bench.tail());
            bench.record(begun.map(|step| step.records).unwrap_or_default());
        }
        Input::Rollback => {
            let begun =
                start_rollback(&world, &facts, &site(), None, &root(), &mut || bench.tail());
            bench.record(begun.map(|step| step.records).unwrap_or_default());
        }
        Input::Down => {
            let begun = start_down(&world, &facts, &site(), &root());
            bench.record(begun.map(|step| step.records).unwrap_or_default());
        }
        Input::Do(index) => {
            let effects = bench.wanted();
            if let Some(effect) = effects.get(index % effects.len().max(1)) {
                check(bench, effect);
                bench.done(effect.clone());
            }
        }
        Input::Exit(index) => {
            if let Some(id) = instances.get(index % instances.len().max(1))
                && facts.running.contains_key(id)
            {
                bench.exit(id);
            }
        }
        Input::Health(index, good) => {
            if let Some(id) = instances.get(index % instances.len().max(1))
                && bench.facts.edge.is_some()
            {
                let health = if *good { Health::Healthy } else { Health::Unhealthy };
                bench.health(id, health);
                let now = bench.facts.now;
                if *good {
                    bench.facts.unhealthy_since.remove(id);
                } else {
                    bench.facts.unhealthy_since.entry(id.clone()).or_insert(now);
                }
            }
        }
        Input::Pass(ms) => bench.pass(Millis(*ms)),
        Input::InFlight(release, count) => {
            if bench.facts.edge.is_some() {
                bench.in_flight(u32::from(*release), *count);
            }
        }
        Input::TestFails => {
            if let Some(rollout) = world.rollout_of(&site()) {
                let image = world.release(&site(), rollout.to).unwrap().spec.image;
                if !facts.tests.contains_key(&image) {
                    bench.tested(image, false);
                }
            }
        }
        Input::EdgeLost => {
            let status = bench.facts.edge.is_some().then(|| bench.lose_edge());
            bench.settle();
            for effect in bench.wanted() {
                let needs_none = matches!(
                    effect,
                    Effect::StartInstance { .. }
                        | Effect::RunTests { .. }
                        | Effect::CarryOut { .. }
                        | Effect::EndRun { .. }
                        | Effect::TakeSnapshots { .. }
                        | Effect::RestoreSnapshots { .. }
                        | Effect::GiveAddress { .. }
                );
                assert!(needs_none, "{effect} without an edge");
            }
            status.into_iter().for_each(|status| bench.see(status));
        }
    }
    bench.settle();
}

/// What must be true of every effect that is asked for.
fn check(bench: &Bench, effect: &Effect) {
    let (world, facts) = (&bench.world, &bench.facts);
    let only = |traffic: &[Share]| match traffic {
        [] => None,
        [share] => Some(share.release),
        _ => panic!("a blue/green rollout shares no traffic: {traffic:?}"),
    };
    let active = |facts: &crate::Facts| {
        let in_force = facts.in_force.as_ref()?;
        only(&in_force.table.pools.first()?.traffic)
    };
    match effect {
        Effect::PrepareRoutes { .. } => panic!("one edge is asked to prepare: {effect}"),
        Effect::ApplyRoutes { table, .. } => {
            let next = table.pools.first().and_then(|pool| only(&pool.traffic));
            if next.is_none() || next == active(facts) {
                return;
            }
            let service = &world.services[&site()];
            let rollout = world.rollout_of(&site());
            let back = service.serving.as_ref().is_some_and(|set| Some(set.release) == next);
            let to: Option<ReleaseNumber> = rollout.map(|rollout| rollout.to);
            assert!(back || to == next, "it only goes to the new or back to the old");
            if !back {
                let rollout = rollout.unwrap();
                assert!(rollout.set.iter().all(|id| facts.healthy(world, id)), "whole and healthy");
                let image = world.release(&site(), rollout.to).unwrap().spec.image;
                assert!(world.image_passed(&image), "tested");
            }
        }
        Effect::StopInstance { instance, .. }
        | Effect::FreezeInstance { instance, .. }
        | Effect::RemoveInstance { instance, .. } => {
            assert!(!facts.routed(instance), "`{instance}` is stopped while it is routed to");
            assert!(!world.kept(&site()).contains(instance) || facts.exited.contains_key(instance));
        }
        Effect::CutInFlight { release, .. } => {
            assert_ne!(active(facts), Some(*release), "what gets the traffic is cut off");
        }
        Effect::GiveAddress { service, .. } => {
            assert!(!facts.addresses.contains_key(service), "`{service}` has an address");
        }
        Effect::TakeAddress { service, .. } => {
            let address = facts.addresses[service];
            assert!(world.services[service].removed && !facts.listened_on(address), "in use");
        }
        Effect::StartInstance { instance, .. } => {
            assert!(world.instances.contains_key(instance), "recorded before it is started");
        }
        Effect::RunTests { .. }
        | Effect::CarryOut { .. }
        | Effect::EndRun { .. }
        | Effect::TakeSnapshots { .. }
        | Effect::AskGuards { .. }
        | Effect::RestoreSnapshots { .. } => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn invariants_hold_in_any_order(inputs in proptest::collection::vec(input(), 1..120)) {
        let mut bench = Bench::serving(2);
        for input in &inputs {
            apply(&mut bench, input);
        }
        // Left alone, with everything that is asked for done, it ends whole: in the new or in the old.
        for _ in 0..400 {
            if bench.world.services[&site()].shared.is_some() {
                // Nothing is replaced before somebody looked.
                let resumed = EventBody::ChurnResumed { service: Some(site()) };
                bench.append(root(), resumed).unwrap();
            }
            bench.comply_once();
            for id in bench.world.instances.clone().keys() {
                bench.health(id, Health::Healthy);
                bench.facts.unhealthy_since.remove(id);
            }
            for release in 1..10 {
                bench.in_flight(release, 0);
            }
            bench.settle();
            bench.pass(Millis(1_000));
        }
        prop_assert_eq!(bench.phase(), None::<Phase>);
        let service = &bench.world.services[&site()];
        match &service.serving {
            Some(set) => {
                let wanted = service.releases[&set.release].spec.instances as usize;
                // One that was well again when its replacement came stays beside it.
                let range = wanted..=2 * wanted;
                prop_assert!(range.contains(&set.instances.len()), "{:?}", bench.log);
                let pool = &bench.facts.in_force.as_ref().unwrap().table.pools[0];
                prop_assert_eq!(&pool.traffic[..], [Share::whole(set.release)]);
            }
            None => prop_assert!(bench.world.instances.is_empty()),
        }
    }
}
