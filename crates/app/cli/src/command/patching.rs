//! `patch` and `image rebase`: the commands that make images of images.

use std::{path::Path, sync::Arc};

use hornero_api::message::{ServiceOutcome, TestReport, TestRequest};
use hornero_bake::{BakeContext, BakedImage, PatchOptions, PatchReport, PatchedHow, PatchedImage};
use hornero_doctor::Need;
use hornero_model::{ServiceName, ServiceSpec};
use hornero_spec::Spec;

use crate::{
    arguments::PatchArguments,
    command::{
        bake,
        carrying_out::CarriedOut,
        configuration::{self, Kept},
        doctor,
        following::Until,
        names, package_changes, plain_server, sign, stores,
        timings::Stopwatch,
        up,
        whole::Consent,
    },
    daemon,
    failure::{Failure, exit},
    harmless::harmless,
    output::{Table, Tone, print_json, print_text},
    progress::Teller,
    project,
    reports::{PatchOutcome, TestedImage},
};

/// `hornero patch`.
pub async fn patch(
    home: &Path,
    json_wanted: bool,
    arguments: PatchArguments,
) -> Result<(), Failure> {
    let PatchArguments { source, deploy, services, dry_run, reason } = arguments;
    if source.locked {
        return Err(Failure::new(exit::USAGE, "`--locked` and a patch exclude each other"));
    }
    let project = project::read(&source, json_wanted)?;
    if !dry_run {
        configuration::check_secrets(home, &project.spec)?;
        // Images that were made are tested by running them.
        doctor::before(home, Need::Run, true)?;
    }
    let store = Arc::new(stores::store(home)?);
    // Nothing of it is collected before a name or the ledger leads to it.
    let lease = store.lease()?;
    let names = project.spec.order().images;
    let teller = Teller::new(home, false);
    let context = BakeContext::new(home, &teller);
    // A patch pins anew what names lead to.
    let bases = sign::stored_bases(&store, &project, &names, true)?;
    sign::check_bases(home, &store, &project, bases)?;
    let options = PatchOptions { dry_run };
    let report =
        hornero_bake::patch(&context, &store, &project.spec, &project.dir, &names, options)
            .map_err(|error| teller.failure(error))?;
    sign::baked(home, &store, &project, &report.images.iter().map(baked).collect::<Vec<_>>())?;
    for image in &report.images {
        names::lead(home, &store, &project.dir, &image.name, &image.new)?;
    }
    if !json_wanted {
        tell(&report, dry_run)?;
    }
    let unchanged = report.images.iter().all(|image| image.how == PatchedHow::Unchanged);
    // What was patched before, but not rolled out yet, is rolled out by `--deploy` all the same.
    if dry_run || (unchanged && !deploy) {
        return match json_wanted {
            true => print_json(&outcome(&report, &[], None)),
            false => Ok(()),
        };
    }
    // A rollout runs the tests itself, of what it rolls out, and records them.
    let tests = match deploy {
        true => Vec::new(),
        false => test(home, &project.spec, &report).await?,
    };
    if let Some(failure) = failed_tests(&tests) {
        return Err(failure.with_data(outcome(&report, &tests, None)));
    }
    // Names lead to the images by now.
    drop(lease);
    if deploy {
        let reason = if reason.is_empty() { "patch".to_owned() } else { reason };
        let only = known_services(&project.spec, services)?;
        let how = (&source, bake::How::default());
        let consent = Consent { only, ..Consent::default() };
        // What is no longer declared is no part of a patch.
        let told = |done: CarriedOut| outcome(&report, &tests, Some(done.services));
        let manner = (Until::Over, Stopwatch::begin(false));
        return up::roll_out(home, json_wanted, how, (consent, reason), manner, told).await;
    }
    match json_wanted {
        true => print_json(&outcome(&report, &tests, None)),
        false => print_text("\n`hornero up`, or `hornero patch --deploy`, rolls them out\n"),
    }
}

/// The same services, if all of them are declared.
fn known_services(spec: &Spec, named: Vec<ServiceName>) -> Result<Vec<ServiceName>, Failure> {
    match named.iter().find(|name| !spec.services.contains_key(*name)) {
        Some(name) => {
            Err(Failure::new(exit::NO_SUCH_OBJECT, format!("no service `{name}` is declared")))
        }
        None => Ok(named),
    }
}

/// What a script is told of a patch.
fn outcome<'a>(
    report: &'a PatchReport,
    tests: &'a [(String, TestReport)],
    services: Option<Vec<ServiceOutcome>>,
) -> PatchOutcome<'a> {
    let tested = |(image, run): &'a (String, TestReport)| TestedImage {
        image,
        tests: &run.tests,
        log_tail: &run.log_tail,
    };
    PatchOutcome {
        changes: &report.changes,
        images: &report.images,
        tests: tests.iter().map(tested).collect(),
        services,
    }
}

/// The failure that names every test that failed; none where all passed.
fn failed_tests(tests: &[(String, TestReport)]) -> Option<Failure> {
    let failed: Vec<String> = tests
        .iter()
        .flat_map(|(image, run)| {
            let failed = run.tests.iter().filter(|test| !test.passed);
            failed.map(move |test| format!("image.{image}: test `{}`: {}", test.name, test.detail))
        })
        .collect();
    let text = format!("tests failed:\n  {}", failed.join("\n  "));
    let hint = "nothing was rolled out; to go on without the patch, bring the `hornero.lock` of before back, or \
         `hornero up --base` with the base of before";
    (!failed.is_empty()).then(|| Failure::new(exit::FAILED, text).hint(hint))
}

/// A patched image as one that was baked, for its statement.
fn baked(image: &PatchedImage) -> BakedImage {
    BakedImage {
        name: image.name.clone(),
        digest: image.new,
        base: image.base_new,
        cached: image.how == PatchedHow::Unchanged,
        seconds: image.milliseconds as f64 / 1e3,
        steps: Vec::new(),
    }
}

fn tell(report: &PatchReport, dry_run: bool) -> Result<(), Failure> {
    if report.changes.is_empty() {
        print_text("every package is the newest there is\n")?;
    } else {
        package_changes::tell(&report.changes)?;
    }
    if dry_run || report.images.iter().all(|image| image.how == PatchedHow::Unchanged) {
        return Ok(());
    }
    print_text("\n")?;
    let mut images = Table::with_head(&["IMAGE", "WAS", "IS", "HOW", "MS"]);
    for image in &report.images {
        let how = match image.how {
            PatchedHow::Rebased => ("moved", Tone::Good),
            PatchedHow::Baked => ("baked", Tone::Plain),
            PatchedHow::Unchanged => ("unchanged", Tone::Quiet),
        };
        images.row(vec![
            (image.name.to_string(), Tone::Plain),
            (image.old.map_or_else(|| "-".to_owned(), |old| old.short()), Tone::Quiet),
            (image.new.short(), Tone::Plain),
            (how.0.to_owned(), how.1),
            (image.milliseconds.to_string(), Tone::Plain),
        ]);
    }
    images.print()?;
    for image in &report.images {
        why_baked(image)?;
    }
    Ok(())
}

fn why_baked(image: &PatchedImage) -> Result<(), Failure> {
    if let Some(why) = &image.unmovable {
        print_text(&harmless(&format!("image.{} was baked: {why}\n", image.name)))?;
    }
    image.refusals.iter().try_for_each(|refusal| {
        print_text(&harmless(&format!("image.{} was baked: {refusal}\n", image.name)))
    })
}

/// Runs the tests of every new image; a control process is started for it where none runs, and ends again where there
/// is nothing else for it to do.
async fn test(
    home: &Path,
    spec: &Spec,
    report: &PatchReport,
) -> Result<Vec<(String, TestReport)>, Failure> {
    let store = stores::store(home)?;
    let changed = report.images.iter().filter(|image| image.how != PatchedHow::Unchanged);
    let mut tested = Vec::new();
    let mut control = None;
    for image in changed {
        if store.image(&image.new)?.config.tests.is_empty() {
            continue;
        }
        let client = match &mut control {
            Some(client) => client,
            None => control.insert(daemon::ensure(home).await?),
        };
        tell!("testing  image.{}", image.name);
        let request =
            TestRequest { service: service_for(Kept { home, store: &store }, spec, image)? };
        let run: TestReport = client.post("/v1/test", &request).await?;
        tested.push((image.name.to_string(), run));
    }
    if let Some(client) = control {
        super::operation::end_idle(&client).await?;
    }
    Ok(tested)
}

/// The service that an image is tested as: one that runs it, else a plain one.
fn service_for(kept: Kept<'_>, spec: &Spec, image: &PatchedImage) -> Result<ServiceSpec, Failure> {
    if let Some(service) = spec.services.values().find(|service| service.image == image.name) {
        let runs = service.clone().into_service_spec(image.new);
        return configuration::complete(Some(kept), service, runs);
    }
    let server = plain_server::of_image(&image.name, image.new)?;
    Ok(ServiceSpec { trust: sign::trusted(spec), ..server })
}
