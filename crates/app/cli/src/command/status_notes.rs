//! What `status` says below its tables: what waits for somebody, what is wrong, and what this host can't do.

use hornero_api::message::{
    ControlStatus, EdgeReport, GlassStatus, PausedStatus, QuarantineStatus, RouteStatus,
    ServiceStatus, StatusReport, StepState, StepStatus, SupportReport, WitnessStatus,
};
use hornero_model::{BundleBody, ConnectionCounters, ServiceName, Timestamp};

use crate::{
    command::{calls, canary, churn},
    harmless::harmless,
    output::age,
};

/// All that is to be said of a report; `runs` is what is told of one-off work.
pub fn notes(report: &StatusReport, runs: &str) -> String {
    let mut text: String = report.services.iter().map(of_service).collect();
    text.push_str(runs);
    text.push_str(&churn::stopped(&report.services));
    text.push_str(&failures(&report.failures));
    text.extend(report.quarantined.iter().map(quarantined));
    text.extend(report.touched.iter().map(touched));
    let undeclared = calls::undeclared(&report.calls, Timestamp::now());
    if !undeclared.is_empty() {
        text.push_str(&format!("\n{undeclared}"));
    }
    text.extend(report.routes.iter().map(of_route));
    text.push_str(of_processes(&report.control, report.edge.as_ref()));
    if report.control.absent {
        text.push_str(
            "\nwarning: no control process runs: this is what the ledger said last, and what the edge says; nothing that \
             ends is replaced\n",
        );
    }
    text.push_str(&of_witness(report.control.witness.as_ref()));
    if let Some(connections) = report.edge.as_ref().and_then(|edge| edge.connections.as_ref()) {
        text.push_str(&limited(&connections.outside, "from outside"));
        text.push_str(&limited(&connections.internal, "from the services themselves"));
    }
    if let Some(fault) = &report.control.journal_fault {
        text.push_str(&format!(
            "\nwarning: the ledger can't be written to ({}); nothing is decided until it can, what serves goes on\n",
            harmless(fault)
        ));
    }
    if let Some(fault) = &report.control.settings_fault {
        text.push_str(&format!(
            "\nwarning: {}; control runs with the settings from before, see `hornero settings`\n",
            harmless(fault)
        ));
    }
    for way in &report.control.api {
        if let Some(fault) = &way.fault {
            let listen = harmless(&way.listen);
            text.push_str(&format!(
                "\nwarning: the API is not reached at `{listen}`: {}\n",
                harmless(fault)
            ));
        }
    }
    text + &of_host(&report.limits)
}

/// Servers that failed lately, and where more is told of each.
fn failures(failures: &[BundleBody]) -> String {
    let now = Timestamp::now();
    let told = failures.iter().map(|of| {
        let (id, ago) = (&of.instance, age(now, of.sealed));
        format!("\nfailed: `{id}` {ago} ago: {}; `hornero autopsy {id}`\n", harmless(&of.summary))
    });
    told.collect()
}

/// That a server is kept for somebody to look at.
fn quarantined(of: &QuarantineStatus) -> String {
    let QuarantineStatus { instance, until, who, why, .. } = of;
    let why = harmless(why);
    format!(
        "\nquarantined: `{instance}` by `{who}` until {until}: {why}; `hornero quarantine release {instance}`\n"
    )
}

/// That somebody is in a server, or was.
fn touched(of: &GlassStatus) -> String {
    let GlassStatus { session, instance, until, who, why, end, .. } = of;
    let (who, why) = (harmless(who), harmless(why));
    match end {
        None => {
            format!("\ntouched: `{who}` is in `{instance}` until {until}, by `{session}`: {why}\n")
        }
        Some(_) => format!(
            "\ntouched: `{who}` was in `{instance}` by `{session}`, and stays until it is replaced: {why}\n"
        ),
    }
}

/// Whether a service could go back, by the last that was seen of it.
fn going_back(service: &ServiceStatus) -> String {
    let ServiceStatus { name, proof, rehearsal, .. } = service;
    let failed = rehearsal.as_ref().and_then(|one| Some((one, one.failure.as_ref()?)));
    let failed = failed.filter(|(one, _)| one.counts);
    let mut text = failed.map_or_else(String::new, |(one, failure)| {
        format!(
            "\nwarning: `{name}` may not be able to go back to {name}@{}: {failure}; `hornero logs {}` has what it wrote\n",
            one.release, one.id
        )
    });
    if let Some(proof) = proof {
        let ago = age(Timestamp(proof.age_seconds.saturating_mul(1_000)), Timestamp(0));
        text.push_str(&format!(
            "\nproof: `{name}` could go back, seen {ago} ago, in {:.3} s\n",
            proof.seconds
        ));
    }
    harmless(&text).into_owned()
}

/// Schema steps that are not done, a line each.
fn of_steps(service: &ServiceStatus) -> String {
    let left = service.steps.iter().filter(|step| step.state != StepState::Done);
    let one = |of: &StepStatus| {
        let StepStatus { step, run, why, .. } = of;
        let name = &service.name;
        let run = run.as_ref().map(|run| format!(" (`{run}`)")).unwrap_or_default();
        let why = why.as_deref().unwrap_or_default();
        match of.state {
            StepState::Waits if why.is_empty() => {
                format!("\nstep: `{step}` of `{name}` waits for its time\n")
            }
            StepState::Waits => {
                format!("\nstep: `{step}` of `{name}`{run} was not started: {why}\n")
            }
            StepState::Running => format!("\nstep: `{step}` of `{name}`{run} is run\n"),
            StepState::Done => String::new(),
            StepState::Failed | StepState::HalfWay => format!(
                "\nwarning: step `{step}` of `{name}`{run} {why}; look at the data, then `hornero up --rerun-step {step}` \
                 or `--override step.{step} --reason …`\n"
            ),
        }
    };
    harmless(&left.map(one).collect::<String>()).into_owned()
}

/// What of a service waits for somebody.
fn of_service(service: &ServiceStatus) -> String {
    let mut text = String::new();
    let rollout = service.rollout.as_ref();
    if let Some(paused) = rollout.and_then(|one| one.paused.as_ref()) {
        text.push_str(&harmless(&paused_text(&service.name, paused)));
    }
    if let Some(batched) = rollout.and_then(|one| one.batched.as_ref()) {
        let (name, reason) = (&service.name, &batched.reason);
        text.push_str(&harmless(&format!("\nbatched: the rollout of `{name}`: {reason}\n")));
    }
    if let Some(canary) = rollout.and_then(|one| one.canary.as_ref()) {
        text.push_str(&harmless(&canary::under_way(&service.name, canary)));
    }
    if let Some(held_back) = service.scale.as_ref().and_then(|scale| scale.held_back.as_ref()) {
        let name = &service.name;
        text.push_str(&harmless(&format!("\nnot scaled: `{name}`: {held_back}\n")));
    }
    text.push_str(&of_steps(service));
    text.push_str(&going_back(service));
    if let Some(failures) = service.gave_up_after {
        text.push_str(&format!(
            "\nwarning: `{}` failed {failures} times in a row and is replaced no more; `hornero up` tries again\n",
            service.name
        ));
    }
    text
}

/// That a rollout waits for somebody, and what becomes of it.
fn paused_text(service: &ServiceName, paused: &PausedStatus) -> String {
    let PausedStatus { who, why, since, until } = paused;
    format!(
        "\npaused: the rollout of `{service}` by `{who}` at {since}: {why}; at {until} it is taken back, \
         `hornero rollout resume {service}` goes on\n"
    )
}

/// That a way in is down, or not as it should be.
fn of_route(route: &RouteStatus) -> String {
    let Some(fault) = &route.fault else { return String::new() };
    let state = if fault.serves { "warning" } else { "down" };
    let (listen, reason) = (route.listen, harmless(&fault.reason));
    format!("\n{state}: `{}` on {listen}: {reason}\n", route.pool)
}

/// That the edge does not run.
fn of_processes(control: &ControlStatus, edge: Option<&EdgeReport>) -> &'static str {
    match (edge, control.absent) {
        (Some(_), _) => "",
        (None, false) => "\nthe edge is down; it is being started again\n",
        (None, true) => "\nthe edge is down, and no control process is there to start it again\n",
    }
}

/// What this host can't do.
fn of_host(limits: &[SupportReport]) -> String {
    let mut text = String::new();
    for limit in limits {
        text.push_str(&format!("\nnote: {}: {}", limit.feature, limit.reason));
        for (word, what) in [("cost", &limit.cost), ("hint", &limit.remedy)] {
            if !what.is_empty() {
                text.push_str(&format!("\n      {word}: {what}"));
            }
        }
    }
    if !limits.is_empty() {
        text.push('\n');
    }
    text
}

/// What is wrong with the witness; nothing where it has the newest head.
pub fn of_witness(witness: Option<&WitnessStatus>) -> String {
    let Some(WitnessStatus { place, event, fault: Some(fault), fault_since, .. }) = witness else {
        return String::new();
    };
    let since = fault_since.map(|since| format!(" since {since}")).unwrap_or_default();
    let has = match event {
        0 => "none of this control process's heads".to_owned(),
        event => format!("the head of event {event}"),
    };
    format!(
        "\nwarning: the witness `{place}` can't be reached{since} ({}); it has {has} and gets the newest when it is back\n",
        harmless(fault)
    )
}

/// What the edge had to do about connections beyond its limits; nothing in the ordinary course.
fn limited(counted: &ConnectionCounters, whence: &str) -> String {
    let ConnectionCounters {
        open, limit, source_limit, given_up, refused, refused_by_source, ..
    } = counted;
    let mut notes = String::new();
    if counted.bad_proxy_headers > 0 {
        notes = format!(
            "\nnote: {} connections of trusted proxies refused {whence}: their PROXY header was missing, malformed or \
             late\n",
            counted.bad_proxy_headers
        );
    }
    if given_up + refused + refused_by_source == 0 {
        return notes;
    }
    let refused = refused + refused_by_source;
    format!(
        "{notes}\nnote: too many connections {whence}: {given_up} idle ones closed for newer ones, {refused} refused; {open} are \
         open, {limit} may be, {source_limit} of one source\n"
    )
}
