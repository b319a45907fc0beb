//! `build` and `lock`, and the baking half of `up` and `plan`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use hornero_bake::{
    BakeContext, BakeError, BakeOptions, BakedImage, Forecast, LOCK_NAME, LockMode,
    PackagesForecast, progress::Silent,
};
use hornero_doctor::Need;
use hornero_model::{Digest, ImageName};

use crate::{
    arguments::Source,
    command::{doctor, names, package_changes, rebasing, reproducing, sign, stores},
    failure::{Failure, exit},
    output::{Table, Tone, print_json, print_text},
    progress::Teller,
    project::{self, Project},
    reports::{BuildReport, BuiltImage, BuiltStep, LockReport, LockedCount},
};

impl From<BakeError> for Failure {
    fn from(error: BakeError) -> Self {
        if !error.refusals().is_empty() {
            return rebasing::does_not_hold(&error.to_string(), error.refusals())
                .hint("bake it on that base instead: `hornero up` without `--base`");
        }
        let failure = Self::of(&error);
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

/// The digests of images that were baked, by name.
pub fn digests(baked: &[BakedImage]) -> impl Fn(&ImageName) -> Option<Digest> {
    |name| baked.iter().find(|image| image.name == *name).map(|image| image.digest)
}

/// The images to bake: one, or else all.
fn wanted(project: &Project, only: Option<&str>) -> Result<Vec<ImageName>, Failure> {
    let order = project.spec.order().images;
    let Some(only) = only else { return Ok(order) };
    let found = order.into_iter().find(|name| name.as_str() == only);
    found.map(|name| vec![name]).ok_or_else(|| {
        let names: Vec<&str> = project.spec.images.keys().map(ImageName::as_str).collect();
        Failure::new(exit::NO_SUCH_OBJECT, format!("`hornero.hcl` declares no image `{only}`"))
            .hint(format!("it declares {}", names.join(", ")))
    })
}

/// Images and all that they are made from, what is made from another after it.
fn with_ancestors(project: &Project, wanted: &[ImageName]) -> Vec<ImageName> {
    let mut names: BTreeSet<&ImageName> = BTreeSet::new();
    for name in wanted {
        let mut next = Some(name);
        while let Some(name) = next.filter(|name| names.insert(name)) {
            next = project.spec.images.get(name).and_then(|image| image.base.image());
        }
    }
    let mut order = project.spec.order().images;
    order.retain(|name| names.contains(name));
    order
}

/// How to bake.
#[derive(Debug, Clone, Copy, Default)]
pub struct How {
    /// Tell of every step what it prints and whether it was cached.
    pub explain: bool,
    /// Look at what is cached file by file, and bake anew what is damaged.
    pub verify: bool,
    /// Bake a second time and compare.
    pub twice: bool,
    /// Put images on this base instead of the one that `hornero.hcl` leads to.
    pub base: Option<Digest>,
}

/// Whether every image is as it was baked; one that is not is told on stderr.
pub fn are_whole(home: &Path, images: &[BakedImage]) -> Result<bool, Failure> {
    let store = stores::store(home)?;
    for image in images {
        if let Err(error) = store.verify_image(&image.digest) {
            tell!("damaged  image.{}: {error}; baking it anew", image.name);
            return Ok(false);
        }
    }
    Ok(true)
}

/// Bakes, telling progress on stderr; the store's names then lead to these images.
pub fn bake(
    home: &Path,
    source: &Source,
    project: &Project,
    only: Option<&str>,
    how: How,
) -> Result<Vec<BakedImage>, Failure> {
    let mut wanted = wanted(project, only)?;
    if how.base.is_some() {
        // What nobody runs need not hold on an older base.
        let servers = project.spec.jobs.values().map(|job| &job.server);
        let servers: Vec<_> = project.spec.services.values().chain(servers).collect();
        wanted.retain(|name| servers.iter().any(|server| server.image == *name));
    }
    let names = with_ancestors(project, &wanted);
    let store = Arc::new(stores::store(home)?);
    let mut bases = sign::stored_bases(&store, project, &names, false)?;
    bases.extend(how.base);
    sign::check_bases(home, &store, project, bases)?;
    // Nothing of it is collected before a name leads to it.
    let _lease = store.lease()?;
    let teller = Teller::new(home, how.explain);
    let context = BakeContext::new(home, &teller);
    let options = BakeOptions { locked: source.locked, verify: how.verify, base: how.base };
    let mut baked =
        hornero_bake::bake(&context, &store, &project.spec, &project.dir, &names, options)
            .map_err(|error| teller.failure(error))?;
    // What an image is made on is signed before it, or it would not be.
    sign::baked(home, &store, project, &baked)?;
    baked.retain(|image| wanted.contains(&image.name));
    for image in &baked {
        names::lead(home, &store, &project.dir, &image.name, &image.digest)?;
    }
    Ok(baked)
}

/// Refuses where the lock would have to change, as a bake with `--locked` does.
pub fn check_lock(home: &Path, project: &Project) -> Result<(), Failure> {
    let context = BakeContext::new(home, &Silent);
    hornero_bake::lock(&context, &project.spec, &project.dir, LockMode::Frozen)?;
    Ok(())
}

/// What a bake would do.
pub fn foresee(home: &Path, project: &Project) -> Result<Vec<Forecast>, Failure> {
    let names = wanted(project, None)?;
    let store = stores::store(home)?;
    let context = BakeContext::new(home, &Silent);
    Ok(hornero_bake::forecast(&context, &store, &project.spec, &project.dir, &names)?)
}

/// Whether the packages of every image are there, as far as this host knows.
pub fn foresee_packages(
    home: &Path,
    project: &Project,
) -> Result<BTreeMap<ImageName, PackagesForecast>, Failure> {
    let context = BakeContext::new(home, &Silent);
    Ok(hornero_bake::forecast_packages(&context, &project.spec, &project.dir)?)
}

/// `hornero build`.
pub fn build(
    home: &Path,
    json_wanted: bool,
    source: &Source,
    only: Option<&str>,
    how: How,
) -> Result<(), Failure> {
    let explain = how.explain;
    let project = project::read(source, json_wanted)?;
    doctor::before(home, Need::Bake, true)?;
    let baked = bake(home, source, &project, only, how)?;
    if how.twice {
        let digests: Vec<Digest> = baked.iter().map(|image| image.digest).collect();
        reproducing::twice(home, &digests)?;
    }
    if json_wanted {
        let images = baked.iter().map(|image| built(image, explain)).collect();
        return print_json(&BuildReport { images });
    }
    let mut table = Table::with_head(&["IMAGE", "DIGEST", "BAKED", "SECONDS"]);
    for image in &baked {
        let made = if image.cached { ("cached", Tone::Quiet) } else { ("baked", Tone::Good) };
        table.row(vec![
            (image.name.to_string(), Tone::Plain),
            (image.digest.short(), Tone::Plain),
            (made.0.to_owned(), made.1),
            (format!("{:.2}", image.seconds), Tone::Plain),
        ]);
    }
    table.print()?;
    if explain {
        print_text("\n")?;
        let mut steps = Table::with_head(&["STEP", "RESULT", "WHY"]);
        for (image, step) in
            baked.iter().flat_map(|image| image.steps.iter().map(move |step| (image, step)))
        {
            let result = if step.cached { "cached" } else { "ran" };
            let why =
                if step.cached { "same inputs as before".to_owned() } else { step.why.clone() };
            steps.row(vec![
                (format!("{}: {}", image.name, step.title), Tone::Plain),
                (result.to_owned(), if step.cached { Tone::Quiet } else { Tone::Good }),
                (why, Tone::Plain),
            ]);
        }
        steps.print()?;
    }
    Ok(())
}

fn built(image: &BakedImage, explain: bool) -> BuiltImage {
    let steps = image.steps.iter().map(|step| BuiltStep {
        title: step.title.clone(),
        cached: step.cached,
        why: step.why.clone(),
        seconds: step.seconds,
    });
    BuiltImage {
        name: image.name.clone(),
        digest: image.digest,
        cached: image.cached,
        seconds: image.seconds,
        steps: explain.then(|| steps.collect()),
    }
}

/// `hornero lock`.
pub fn lock(home: &Path, json_wanted: bool, source: &Source, update: bool) -> Result<(), Failure> {
    let project = project::read(source, json_wanted)?;
    let mode = match (update, source.locked) {
        (true, false) => LockMode::Update,
        (false, false) => LockMode::Keep,
        (false, true) => LockMode::Frozen,
        (true, true) => {
            return Err(Failure::new(exit::USAGE, "`--locked` and `--update` exclude each other"));
        }
    };
    let teller = Teller::new(home, false);
    let context = BakeContext::new(home, &teller);
    let before =
        hornero_bake::Lock::read(&project.dir).map_err(BakeError::from)?.unwrap_or_default();
    let lock = hornero_bake::lock(&context, &project.spec, &project.dir, mode)?;
    let changes = hornero_bake::package_changes(&before, &lock);
    let images = lock.images.iter().map(|(name, image)| (name, image.packages.len()));
    if json_wanted {
        let images = images.map(|(name, packages)| LockedCount { name, packages }).collect();
        return print_json(&LockReport { images, changes: &changes });
    }
    if update && !changes.is_empty() {
        package_changes::tell(&changes)?;
    }
    for (name, packages) in images {
        print_text(&format!("image.{name}: {packages} packages locked\n"))?;
    }
    print_text(&format!(
        "`{}` holds them; keep it under version control\n",
        source.dir.join(LOCK_NAME).display()
    ))
}
