//! The driver's outcomes in the API's words.

use hornero_api::message::{Failure, Outcome, OutcomeKind, ServiceOutcome};

/// An outcome as clients read it.
pub fn told(outcome: hornero_driver::Outcome) -> Outcome {
    let services = outcome.services.into_iter().map(|service| ServiceOutcome {
        name: service.service,
        release: service.release,
        image: service.image,
        rollout: service.rollout,
        receipt: service.receipt,
    });
    Outcome {
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
            let hint = failure
                .instance
                .as_ref()
                .filter(|_| !failure.log_tail.is_empty())
                .map(|id| format!("`hornero logs {id}` shows all it wrote"));
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
            Failure {
                service: Some(service),
                reason,
                instance: failure.instance,
                log_tail: failure.log_tail,
                hint,
            }
        }),
    }
}
