//! Reads `job` blocks.

use std::collections::BTreeMap;

use hcl_edit::structure::Block;
use hornero_model::{ImageName, JobName, Keep, Millis, RolloutPolicy, ServiceKind, ServiceName};

use crate::{
    ErrorCode, ImageDefinition, JobDefinition, ServiceDefinition, Sources, defaults,
    error::Mistake,
    evaluate::Evaluator,
    limits, read_command, read_configuration, read_cron,
    read_service::{resources, stop_grace, stop_signal},
    read_value::{shown, valid},
    section::{At, Section, label},
    value::{BlockKind, Span},
};

/// A job with the places that checks across blocks point at.
#[derive(Debug)]
pub(crate) struct JobDraft {
    pub definition: JobDefinition,
    name_span: Span,
    image_span: Span,
}

/// Reads a block; none where it has no name or no image to run, which is reported.
pub(crate) fn read(cx: &mut Evaluator, block: &Block, sources: &dyn Sources) -> Option<JobDraft> {
    let name = label(cx, block, "a job needs a name", "report");
    let shown_name = name.as_ref().map(|name| shown(&name.value)).unwrap_or_default();
    let mut section = Section::of_block(cx, block, format!("job `{shown_name}`"));
    let image_written = section.has("image");
    let image = section.reference(cx, "image", BlockKind::Image);
    if !image_written {
        section.missing(cx, "image", "write `image = image.NAME`");
    }
    let config = read_configuration::config(cx, &mut section, sources);
    let (config, mut config_spans): (Vec<_>, Vec<_>) = config.into_iter().unzip();
    let secrets = read_configuration::secrets(cx, &mut section);
    let (secrets, secret_spans): (Vec<_>, Vec<_>) = secrets.into_iter().unzip();
    config_spans.extend(secret_spans);
    let files = config.iter().map(|file| file.path.as_str());
    let paths = files.chain(secrets.iter().map(|secret| secret.path.as_str()));
    read_configuration::apart(cx, &section.what, paths.zip(&config_spans).collect());
    let command = read_command::command(cx, &mut section).unwrap_or_default();
    let schedule = read_cron::line(cx, &mut section, "schedule");
    let deadline = section.duration(cx, "deadline", Millis(1_000)).unwrap_or(defaults::DEADLINE);
    let retries = section
        .whole(cx, "retries", 0, limits::RETRIES, "what fails that often is for a person")
        .unwrap_or(0);
    let resources = resources(cx, &mut section);
    let egress = section.flag(cx, "egress").unwrap_or(defaults::EGRESS);
    let stop_signal = stop_signal(cx, &mut section);
    let stop_grace = stop_grace(cx, &mut section);
    let env = read_configuration::env(cx, &mut section);
    section.finish(cx);
    let name = name.and_then(|name| valid(cx, JobName::new(&*name.value), name))?;
    let image = image?;
    let server = ServiceDefinition {
        // Both have the same rule.
        name: ServiceName::new(name.value.as_str()).ok()?,
        image: ImageName::new(&*image.value).ok()?,
        resources,
        egress,
        stop_signal,
        stop_grace,
        env,
        config,
        secrets,
        ..bare()?
    };
    let At { value: name, span: name_span } = name;
    let definition = JobDefinition { name, server, command, schedule, deadline, retries };
    Some(JobDraft { definition, name_span, image_span: image.span })
}

/// A server without anything that only a service has.
fn bare() -> Option<ServiceDefinition> {
    Some(ServiceDefinition {
        name: ServiceName::new("job").ok()?,
        image: ImageName::new("none").ok()?,
        kind: ServiceKind::Stateless,
        scale: None,
        instances: 1,
        ports: Vec::new(),
        health: None,
        routes: Vec::new(),
        rollout: RolloutPolicy::at_once(),
        resources: hornero_model::Resources { memory_bytes: 0, cpu_millis: 0, pids: 0 },
        egress: defaults::EGRESS,
        depends_on: Vec::new(),
        max_age: None,
        require_fresh_rollback: None,
        trust: Vec::new(),
        keep: Keep::default(),
        stop_signal: None,
        stop_grace: None,
        env: BTreeMap::new(),
        config: Vec::new(),
        secrets: Vec::new(),
        budget: None,
        mounts: Vec::new(),
        not_state: Vec::new(),
        guards: Vec::new(),
        migrate: None,
        labels: BTreeMap::new(),
        metrics: None,
    })
}

/// Checks jobs against each other and against their images.
pub(crate) fn settle(
    cx: &mut Evaluator,
    drafts: Vec<JobDraft>,
    images: &BTreeMap<ImageName, ImageDefinition>,
    has_command: impl Fn(&ImageDefinition) -> bool,
) -> BTreeMap<JobName, JobDefinition> {
    let mut spans: BTreeMap<JobName, Span> = BTreeMap::new();
    let mut jobs = BTreeMap::new();
    for JobDraft { definition, name_span, image_span } in drafts {
        if let Some(first) = spans.get(&definition.name) {
            let message = format!("there are two jobs `{}`", definition.name);
            cx.report(
                Mistake::new(ErrorCode::DuplicateName, name_span, message)
                    .related(first.clone(), "the first is here"),
            );
            continue;
        }
        spans.insert(definition.name.clone(), name_span);
        let image = images.get(&definition.server.image);
        if let Some(image) =
            image.filter(|image| definition.command.is_empty() && !has_command(image))
        {
            let message = format!(
                "job `{}` has no `command`, and image `{}` has none either",
                definition.name, image.name
            );
            cx.report(
                Mistake::new(ErrorCode::MissingKey, image_span, message)
                    .hint("write `command = [\"/srv/report\"]`"),
            );
        }
        jobs.insert(definition.name.clone(), definition);
    }
    jobs
}
