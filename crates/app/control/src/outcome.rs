//! The driver's outcomes in the API's words.

use hornero_api::message::{
    OperationFailure, OperationLine, OperationOutcome, OutcomeKind, ServiceOutcome,
};
use hornero_driver::{Progress, RequestId};

use crate::churn;

/// The phase of the line that says that all servers and new requests are on what was asked for.
const SERVING: &str = "serving";

/// News in the line that those who follow an operation read; what belongs to none is logged.
pub fn line(progress: Progress) -> Option<(RequestId, OperationLine)> {
    match progress {
        Progress::Step { request: None, service, phase, message, .. } => {
            tracing::info!(%service, phase, "{message}");
            None
        }
        Progress::Step { request: Some(request), service, rollout, phase, message, instance } => {
            let (service, phase) = (Some(service), phase.to_owned());
            let (after_ms, serves) = (None, None);
            let line = OperationLine::Progress {
                service,
                rollout,
                phase,
                message,
                instance,
                after_ms,
                serves,
            };
            Some((request, line))
        }
        Progress::Serves { request, services } => {
            let line = OperationLine::Progress {
                service: None,
                rollout: None,
                phase: SERVING.to_owned(),
                message: "all servers and new requests are on it; watch and drain go on".to_owned(),
                instance: None,
                after_ms: None,
                serves: Some(services.into_iter().map(service).collect()),
            };
            Some((request, line))
        }
        Progress::Finished { request, outcome } => {
            Some((request, OperationLine::Finished { outcome: told(outcome) }))
        }
    }
}

fn service(outcome: hornero_driver::ServiceOutcome) -> ServiceOutcome {
    ServiceOutcome {
        name: outcome.service,
        release: outcome.release,
        image: outcome.image,
        rollout: outcome.rollout,
        receipt: outcome.receipt,
        adjusted: outcome.adjusted,
        recycled: outcome.recycled,
    }
}

/// What to do where a server wrote to its root; nothing where it did not.
fn read_only(log_tail: &[String]) -> Option<String> {
    let words = "read-only file system";
    let met = log_tail.iter().any(|line| line.to_ascii_lowercase().contains(words));
    met.then(|| {
        "the root of a server is read-only: name the directories that it writes to in its image, as in `scratch = \
         [\"/run\", \"/var/lib/app\"]`"
            .to_owned()
    })
}

/// An outcome as clients read it.
fn told(outcome: hornero_driver::Outcome) -> OperationOutcome {
    let services = outcome.services.into_iter().map(service);
    OperationOutcome {
        result: match outcome.result {
            hornero_driver::OutcomeKind::Done => OutcomeKind::Done,
            hornero_driver::OutcomeKind::Failed => OutcomeKind::Failed,
            hornero_driver::OutcomeKind::Refused => OutcomeKind::Refused,
            hornero_driver::OutcomeKind::RolledBack => OutcomeKind::RolledBack,
            hornero_driver::OutcomeKind::NotFound => OutcomeKind::NotFound,
        },
        services: services.collect(),
        failure: outcome.failure.map(|(service, failure)| {
            // An instance that never ran wrote nothing.
            let all = failure
                .instance
                .as_ref()
                .filter(|_| !failure.log_tail.is_empty())
                .map(|id| format!("`hornero logs {id}` shows all it wrote"));
            let autopsy =
                failure.instance.as_ref().map(|id| format!("`hornero autopsy {id}` says why"));
            let hints: Vec<String> =
                [read_only(&failure.log_tail), all, autopsy].into_iter().flatten().collect();
            let hint = (!hints.is_empty()).then(|| hints.join("\n"));
            let guarded = failure.refused.as_deref();
            let of_data = guarded.and_then(|guard| guard.strip_prefix("guard.")).map(|guard| {
                format!(
                    "what served serves on; `hornero guard check {service}` asks again, `--override guard.{guard} \
                     --reason …` goes on whatever it says"
                )
            });
            let of_step = guarded.and_then(|guard| guard.strip_prefix("step.")).map(|step| {
                format!(
                    "look at the data; `hornero up --rerun-step {step}` runs it once more, `--override step.{step} --reason \
                     …` counts it as done"
                )
            });
            let of_nothing = guarded.filter(|guard| *guard == "step-unreached").map(|_| {
                "bring up first what served before, which the step can reach, then this; where its data has been changed by hand, \
                 take the step out of `migrate`"
                    .to_owned()
            });
            let hint = of_data.or(of_step).or(of_nothing).or_else(|| guarded.and_then(|guard| churn::hint(guard, &service))).or(hint);
            let cause = failure.cause.as_ref().map(ToString::to_string);
            // The reason may tell the cause already.
            let reason = match cause.filter(|cause| !failure.reason.contains(cause.as_str())) {
                Some(cause) => format!("{}: {cause}", failure.reason),
                None => failure.reason,
            };
            let reason = match &failure.instance {
                Some(id) if !reason.contains(id.as_str()) => format!("instance `{id}`: {reason}"),
                Some(_) | None => reason,
            };
            OperationFailure {
                service: Some(service),
                reason,
                instance: failure.instance,
                log_tail: failure.log_tail,
                hint,
            }
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_wrote_to_its_root_is_told_of_scratch() {
        let line =
            "nginx: [emerg] mkdir() \"/var/lib/nginx/body\" failed (30: Read-only file system)";
        let told = read_only(&["starting".to_owned(), line.to_owned()]).unwrap();
        assert!(told.contains("scratch = ["), "{told}");
        assert_eq!(read_only(&["cannot open shared object file".to_owned()]), None);
    }
}
