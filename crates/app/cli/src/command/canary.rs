//! What people read of canaries.

use hornero_api::message::{CanaryStatus, Judgement};
use hornero_model::{CanaryStep, ServiceName, Share};

/// A canary under way, a line for what is known by now and one for each step before.
pub fn under_way(service: &ServiceName, canary: &CanaryStatus) -> String {
    let CanaryStatus { release, step, steps, weight, .. } = canary;
    let known = match &canary.judgement {
        Some(Judgement { verdict, reasons }) => format!("{verdict}: {}", reasons.join("; ")),
        None => "nothing is known of it yet".to_owned(),
    };
    let share = Share::percent(*weight);
    let mut text = format!(
        "\ncanary: `{service}@{release}` gets {share} of the requests (step {step} of {steps}): {known}\n"
    );
    for before in &canary.judged {
        text.push_str(&format!("        {}\n", judged(before)));
    }
    text
}

/// What became of a step.
pub fn judged(step: &CanaryStep) -> String {
    let CanaryStep { weight, verdict, reasons, .. } = step;
    let reasons =
        if reasons.is_empty() { "nothing was counted".to_owned() } else { reasons.join("; ") };
    format!("{verdict} at {}: {reasons}", Share::percent(*weight))
}
