//! A home, a directory with images, and what a bake in them told.

use std::{
    path::{Path, PathBuf},
    sync::Mutex,
    time::Duration,
};

use hornero_archive::{Archive, SUITE};
use hornero_bake::{
    BakeContext, BakeError, BakeOptions, BakedImage, Lock, LockMode, Patience,
    progress::{BakeEvent, BakeProgress},
};
use hornero_model::ImageName;
use hornero_spec::{Base, ImageDefinition, Spec};
use hornero_store::Store;

#[derive(Default)]
pub struct Heard(pub Mutex<Vec<BakeEvent>>);

impl BakeProgress for Heard {
    fn event(&self, event: BakeEvent) {
        self.0.lock().unwrap().push(event);
    }
}

pub struct Home {
    _dir: Option<tempfile::TempDir>,
    pub path: PathBuf,
    pub source: PathBuf,
    pub heard: Heard,
    pub spec: Spec,
}

/// Long enough for a busy machine, short enough to wait for.
pub const PATIENCE: Patience = Patience {
    connect: Duration::from_secs(5),
    answer: Duration::from_secs(1),
    body: Duration::from_secs(5),
    attempts: 3,
    pause: Duration::from_millis(5),
};

pub fn name(text: &str) -> ImageName {
    ImageName::new(text).unwrap()
}

pub fn image(text: &str, base: Base, packages: &[&str]) -> ImageDefinition {
    ImageDefinition {
        name: name(text),
        base,
        packages: packages.iter().map(|package| (*package).to_owned()).collect(),
        archives: Vec::new(),
        copies: Vec::new(),
        provisions: Vec::new(),
        secrets: Default::default(),
        run: Vec::new(),
        network: false,
        max_size_bytes: None,
        config: hornero_model::ImageConfig::default(),
    }
}

pub fn debian(mirror: &str, keyring: &Path) -> Base {
    Base::Debian {
        suite: SUITE.to_owned(),
        mirror: Some(mirror.to_owned()),
        keyring: Some(keyring.to_str().unwrap().to_owned()),
    }
}

impl Home {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut home = Self::at(&dir.path().join("home"), &dir.path().join("source"));
        home._dir = Some(dir);
        home
    }

    pub fn at(path: &Path, source: &Path) -> Self {
        std::fs::create_dir_all(source).unwrap();
        Self {
            _dir: None,
            path: path.to_owned(),
            source: source.to_owned(),
            heard: Heard::default(),
            spec: Spec {
                images: Default::default(),
                services: Default::default(),
                jobs: Default::default(),
                freezes: Default::default(),
                schedules: Default::default(),
                volumes: Default::default(),
                trust: Default::default(),
            },
        }
    }

    /// A home whose image `base` has these packages of an archive read from its directory.
    pub fn with_base(archive: &Archive, packages: &[&str]) -> Self {
        let mut home = Self::new();
        home.add(image(
            "base",
            debian(archive.path().to_str().unwrap(), &archive.keyring()),
            packages,
        ));
        home
    }

    pub fn add(&mut self, image: ImageDefinition) {
        self.spec.images.insert(image.name.clone(), image);
    }

    pub fn get(&mut self, text: &str) -> &mut ImageDefinition {
        self.spec.images.get_mut(&name(text)).unwrap()
    }

    pub fn context(&self) -> BakeContext<'_> {
        let mut context = BakeContext::new(&self.path, &self.heard);
        context.apt_dir = self.path.join("no-apt-here");
        context.patience = PATIENCE;
        context
    }

    pub fn store(&self) -> Store {
        Store::open(self.path.join("store")).unwrap()
    }

    pub fn lock(&self, mode: LockMode) -> Result<Lock, BakeError> {
        hornero_bake::lock(&self.context(), &self.spec, &self.source, mode)
    }

    pub fn bake(&self, names: &[&str]) -> Result<Vec<BakedImage>, BakeError> {
        self.bake_with(names, BakeOptions::default())
    }

    pub fn bake_with(
        &self,
        names: &[&str],
        options: BakeOptions,
    ) -> Result<Vec<BakedImage>, BakeError> {
        let names: Vec<ImageName> = names.iter().map(|text| name(text)).collect();
        hornero_bake::bake(
            &self.context(),
            &self.store(),
            &self.spec,
            &self.source,
            &names,
            options,
        )
    }

    pub fn bake_one(&self, text: &str) -> BakedImage {
        match self.bake(&[text]) {
            Ok(mut baked) => baked.remove(0),
            Err(error) => panic!("{}", chain(&error)),
        }
    }

    pub fn bake_error(&self, text: &str) -> String {
        chain(&self.bake(&[text]).expect_err("the bake is refused"))
    }

    pub fn write(&self, path: &str, contents: &str) {
        let path = self.source.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, contents).unwrap();
    }

    pub fn read(&self, image: &BakedImage, path: &str) -> String {
        String::from_utf8(self.store().read_file(&image.digest, path).unwrap()).unwrap()
    }

    /// Package files and partial ones in the cache.
    pub fn cached_packages(&self) -> usize {
        std::fs::read_dir(self.path.join("cache/packages")).map_or(0, Iterator::count)
    }

    pub fn heard(&self) -> Vec<BakeEvent> {
        std::mem::take(&mut self.heard.0.lock().unwrap())
    }
}

/// An error with its causes, as the command shows it.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
