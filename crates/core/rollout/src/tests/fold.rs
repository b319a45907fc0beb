//! Impossible histories are refused by name.

use expect_test::{Expect, expect};
use hornero_model::{
    CronLine, Digest, Directory, Event, EventBody, ExitCause, ImageName, InstanceId, InstanceState,
    Job, JobName, JobTurn, Millis, Receipt, ReceiptBody, Release, ReleaseNumber, RolloutId, Run,
    RunEnd, Term, Timestamp,
};

use super::{Bench, root, site, spec};
use crate::{Phase, World, in_use, needed_by_runs};

fn check(mut bench: Bench, body: EventBody, expected: Expect) {
    let before = bench.world.clone();
    let said = match bench.append(root(), body) {
        Ok(()) => "fine".to_owned(),
        Err(error) => {
            assert_eq!(bench.world, before, "a refused event changes nothing");
            error.reason
        }
    };
    expected.assert_eq(&said);
}

fn changed(bench: &Bench, release: u32, state: InstanceState) -> EventBody {
    instance(bench.instance(release), release, state)
}

fn instance(instance: InstanceId, release: u32, state: InstanceState) -> EventBody {
    let release = ReleaseNumber(release);
    EventBody::InstanceChanged {
        instance,
        service: site(),
        release,
        state,
        cause: None,
        region: Default::default(),
    }
}

#[test]
fn sequence_numbers_have_no_gaps() {
    let zero = Digest::from_bytes([0; 32]);
    let body = EventBody::ControlStarted {
        version: String::new(),
        detail: String::new(),
        boot: None,
        term: None,
    };
    let event = |sequence| Event {
        sequence,
        time: Timestamp(0),
        by: root(),
        body: body.clone(),
        previous: zero,
        hash: zero,
    };
    let mut world = World::default();
    assert_eq!(
        world.apply(&event(2)).unwrap_err().to_string(),
        "event 2 is impossible: the event before it is 0"
    );
    world.apply(&event(1)).unwrap();
    world.apply(&event(2)).unwrap();
}

fn run(id: &str) -> Run {
    Run {
        id: InstanceId::new(id).unwrap(),
        release: None,
        job: None,
        step: None,
        image_name: ImageName::new("site").unwrap(),
        image: Digest::of(b"one-off"),
        configuration: Some(Digest::of(b"files")),
        command: vec!["/bin/true".to_owned()],
        timeout: Millis(1),
        stop_grace: Millis(1),
    }
}

#[test]
fn one_off_work_is_open_until_its_end_and_keeps_its_images() {
    let mut bench = Bench::serving(1);
    let begun = EventBody::RunStarted { run: Box::new(run("run-site-a")) };
    bench.append(root(), begun.clone()).unwrap();
    let needed: Vec<Digest> = needed_by_runs(&bench.world).map(|(image, _)| image).collect();
    assert_eq!(needed, [Digest::of(b"one-off"), Digest::of(b"files")]);
    assert!(in_use(&bench.world).contains(&Digest::of(b"one-off")));
    check(bench, begun, expect!["`run-site-a` was begun before"]);

    let mut bench = Bench::serving(1);
    let end = |id: &str| EventBody::RunEnded {
        end: RunEnd {
            id: InstanceId::new(id).unwrap(),
            cause: ExitCause::Code(0),
            cut_off: None,
            duration: Millis(1),
        },
    };
    let begun = EventBody::RunStarted { run: Box::new(run("run-site-a")) };
    bench.append(root(), begun).unwrap();
    bench.append(root(), end("run-site-a")).unwrap();
    assert!(bench.world.runs.is_empty());
    assert!(!in_use(&bench.world).contains(&Digest::of(b"one-off")));
    check(bench, end("run-site-a"), expect!["there is no run `run-site-a`"]);
}

#[test]
fn a_job_is_what_was_declared_last_and_knows_what_came_of_it() {
    let mut bench = Bench::serving(1);
    let name = JobName::new("report").unwrap();
    let directory = Directory::new("/srv/shop").unwrap();
    let job = |line: &str| {
        let (line, timezone) = (line.to_owned(), "UTC".to_owned());
        let schedule = Some(CronLine { line, timezone });
        let (server, deadline) = (spec("report", 1), Millis(1_000));
        let job =
            Job { name: name.clone(), server, command: Vec::new(), schedule, deadline, retries: 0 };
        EventBody::JobDeclared { job: Box::new(job), directory: directory.clone() }
    };
    bench.append(root(), job("0 3 * * *")).unwrap();
    let declared = bench.world.jobs[&name].since;
    let planned = declared.after(Millis(60_000));
    let turn = JobTurn { job: name.clone(), planned: Some(planned), attempt: 2, missed: 1 };
    let begun = Run { job: Some(turn), ..run("job-report-a") };
    bench.append(root(), EventBody::RunStarted { run: Box::new(begun) }).unwrap();
    let known = &bench.world.jobs[&name];
    assert_eq!((known.since, known.running().map(|run| run.attempt)), (planned, Some(2)));
    let id = InstanceId::new("job-report-a").unwrap();
    let end = RunEnd { id, cause: ExitCause::Code(1), cut_off: None, duration: Millis(1) };
    bench.append(root(), EventBody::RunEnded { end }).unwrap();
    let known = &bench.world.jobs[&name];
    assert!(known.running().is_none() && known.last.as_ref().is_some_and(|run| run.end.is_some()));
    // Its image is kept for the next time; what it was begun for is not looked at again.
    let image = spec("report", 1).image;
    assert!(needed_by_runs(&bench.world).any(|(needed, _)| needed == image));
    bench.append(root(), job("0 3 * * *")).unwrap();
    assert_eq!(bench.world.jobs[&name].since, planned);
    // With another schedule it waits for the next time of that.
    bench.pass(Millis(600_000));
    bench.append(root(), job("0 4 * * *")).unwrap();
    assert_eq!(bench.world.jobs[&name].since, bench.facts.now);
    let later = bench.facts.now.after(Millis(1));
    let skipped = EventBody::JobSkipped { job: name.clone(), planned: later, missed: 3 };
    bench.append(root(), skipped.clone()).unwrap();
    assert_eq!(bench.world.jobs[&name].since, later);
    // Whoever removes it and whoever leaves a time of it out do not wait for each other.
    let removed = EventBody::JobRemoved { job: name.clone() };
    bench.append(root(), removed.clone()).unwrap();
    bench.append(root(), skipped).unwrap();
    bench.append(root(), removed).unwrap();
    assert!(bench.world.jobs.is_empty());
}

#[test]
fn the_term_is_that_of_the_last_start() {
    let started = |term| EventBody::ControlStarted {
        version: String::new(),
        detail: String::new(),
        boot: None,
        term,
    };
    let mut bench = Bench::new();
    for (term, expected) in [(None, 0), (Some(Term(1)), 1), (None, 1), (Some(Term(5)), 5)] {
        bench.append(root(), started(term)).unwrap();
        assert_eq!(bench.world.term, Term(expected));
    }
}

#[test]
fn releases_are_counted() {
    let release = |number| {
        let spec = spec("x", 1);
        let spec_digest = Release::digest_of(&spec);
        let number = ReleaseNumber(number);
        let release = Release { number, spec, spec_digest, created: Timestamp(0), by: root() };
        EventBody::ReleaseCreated { release: Box::new(release) }
    };
    check(Bench::serving(1), release(2), expect!["fine"]);
    check(
        Bench::serving(1),
        release(1),
        expect!["release `site@1` is made where `site@2` comes next"],
    );
    check(Bench::new(), release(2), expect!["release `site@2` is made where `site@1` comes next"]);
}

#[test]
fn only_known_releases_are_proven_and_switched_to() {
    let proven =
        |number| EventBody::ReleaseProven { service: site(), release: ReleaseNumber(number) };
    check(Bench::serving(1), proven(1), expect!["fine"]);
    check(Bench::serving(1), proven(2), expect!["there is no release `site@2`"]);
    let body = ReceiptBody {
        id: RolloutId(1),
        service: site(),
        from: None,
        to: ReleaseNumber(3),
        from_image: None,
        to_image: Digest::of(b""),
        generation: 1,
        switched: Timestamp(0),
        switch_ms: 0.0,
        edges: Some(1),
        skew_ms: Some(0.0),
        total_ms: 0.0,
        drained: 0,
        cut_off: 0,
        requests_failed: 0,
        warm: false,
        canary: Vec::new(),
        interventions: Vec::new(),
        held: None,
        unavailable_ms: None,
        snapshot: None,
        batched: None,
        taken_back: None,
        by: root(),
    };
    let receipt = Receipt { body, signature: String::new(), key: String::new() };
    check(
        Bench::serving(1),
        EventBody::Switched { receipt: Box::new(receipt) },
        expect!["there is no release `site@3`"],
    );
}

#[test]
fn instances_live_once_and_in_order() {
    let bench = Bench::serving(1);
    let fresh = InstanceId::new("site-1-fresh").unwrap();
    check(bench.clone(), instance(fresh.clone(), 1, InstanceState::Created), expect!["fine"]);
    check(
        bench.clone(),
        instance(fresh.clone(), 1, InstanceState::Ready),
        expect!["there is no instance `site-1-fresh`"],
    );
    check(
        bench.clone(),
        instance(fresh.clone(), 2, InstanceState::Created),
        expect!["there is no release `site@2`"],
    );
    check(
        bench.clone(),
        changed(&bench, 1, InstanceState::Created),
        expect!["instance `site-1-t1` is made a second time"],
    );
    check(
        bench.clone(),
        changed(&bench, 1, InstanceState::Ready),
        expect!["instance `site-1-t1` is serving and can't become ready"],
    );
    check(
        bench.clone(),
        changed(&bench, 1, InstanceState::Archived),
        expect!["instance `site-1-t1` is serving and can't become archived"],
    );
    check(bench.clone(), changed(&bench, 1, InstanceState::Failed), expect!["fine"]);
    // An instance of a release that does not serve needs a rollout.
    let bench = Bench::preparing();
    check(
        bench,
        instance(fresh, 2, InstanceState::Created),
        expect!["instance `site-1-fresh` belongs to no rollout, and `site@2` does not serve"],
    );
}

#[test]
fn rollouts_go_one_by_one_and_in_order() {
    let bench = Bench::at(Phase::Switching, 0);
    let rollout = bench.world.rollout_of(&site()).unwrap().clone();
    let step = |change: &dyn Fn(&mut crate::Rollout)| {
        let mut rollout = rollout.clone();
        change(&mut rollout);
        EventBody::RolloutStep { entry: Box::new(rollout.entry()) }
    };
    check(bench.clone(), step(&|of| of.phase = Phase::Watching), expect!["fine"]);
    check(
        bench.clone(),
        step(&|of| of.phase = Phase::Finished),
        expect!["rollout 2 is switching and can't become finished"],
    );
    check(
        bench.clone(),
        step(&|of| of.phase = Phase::Preparing),
        expect!["rollout 2 is switching and can't become preparing"],
    );
    check(
        bench.clone(),
        step(&|of| of.id = RolloutId(3)),
        expect!["rollout 3 of `site` begins while 2 is under way"],
    );
    check(bench.clone(), step(&|of| of.id = RolloutId(9)), expect!["rollout 9 is not under way"]);
    check(bench.clone(), step(&|of| of.id = RolloutId(1)), expect!["rollout 1 is not under way"]);
    check(
        bench.clone(),
        step(&|of| of.to = ReleaseNumber(7)),
        expect!["there is no release `site@7`"],
    );
    let EventBody::RolloutStep { mut entry } = step(&|of| of.phase = Phase::Watching) else {
        unreachable!("a step was made")
    };
    entry.finished = true;
    check(
        bench.clone(),
        EventBody::RolloutStep { entry: entry.clone() },
        expect!["the journal of rollout 2 contradicts itself"],
    );
    entry.state = serde_json::json!({ "phase": "unheard-of" });
    check(
        bench,
        EventBody::RolloutStep { entry },
        expect![
            "the state of rollout 2 can't be read: unknown variant `unheard-of`, expected one of `expanding`, `preparing`, `canary`, `rolling`, `replacing`, `switching`, `watching`, `draining`, `finished`, `undoing`, `failed`, `returning`, `clearing`, `rolled_back`, `closing`, `emptying`, `removed`"
        ],
    );
    // A rollout that is over stays over.
    let mut bench = Bench::preparing();
    let one = bench.instance(2);
    bench.exit(&one);
    bench.comply();
    check(bench, step(&|of| of.phase = Phase::Watching), expect!["rollout 2 is not under way"]);
}

#[test]
fn a_service_with_instances_is_not_removed() {
    let removed = || EventBody::ServiceRemoved { service: site() };
    check(Bench::serving(1), removed(), expect!["instance `site-1-t1` of it is still there"]);
    check(Bench::new(), removed(), expect!["there is no service `site`"]);
}
