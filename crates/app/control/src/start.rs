//! Turns a release into an instance: image from the store, verified, with its user resolved, handed to the engine.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use hornero_engine_port::{
    Engine, FileContent, InstanceFile, InstanceSpec,
    log::{LogFrom, LogQuery},
};
use hornero_model::{
    ConfigFile, Digest, ImageTest, InstanceId, Release, ReleaseNumber, SecretFile, ServiceSpec,
    User, error_chain,
};
use hornero_secret::{SecretError, Vault};
use hornero_store::Store;
use zeroize::Zeroizing;

use crate::provenance::{Denied, ProvenanceCheck};

/// The release that instances carry which are none of a release's servers, those of tests and of one-off work; real ones
/// count from 1.
pub const TEST_RELEASE: ReleaseNumber = ReleaseNumber(0);

/// Lines of a failed instance's log that travel with the failure: enough for a stack trace's head.
const LOG_TAIL_LINES: usize = 20;
/// Bytes of each: they go into the ledger.
const TAIL_LINE_BYTES: usize = 16 << 10;

/// How often it is told that starts of an image go on; they are given up after sixty times as long without.
const NEWS_INTERVAL: Duration = Duration::from_secs(1);

/// The last verification of one image: when it began and what it found.
type Verification = Arc<Mutex<Option<(Instant, Result<(), String>)>>>;

/// Told of an image whose starts go on.
pub type WentOn = Box<dyn Fn(Digest) + Send + Sync>;

/// Prepares and starts instances.
pub struct Starter {
    store: Arc<Store>,
    engine: Arc<dyn Engine>,
    provenance: ProvenanceCheck,
    vault: Vault,
    verified: Mutex<BTreeMap<Digest, Verification>>,
    went_on: WentOn,
    /// When news of an image were last told.
    told: Mutex<BTreeMap<Digest, Instant>>,
}

impl Starter {
    /// A starter over a store and an engine, that starts what the guard lets through.
    pub fn new(
        store: Arc<Store>,
        engine: Arc<dyn Engine>,
        provenance: ProvenanceCheck,
        vault: Vault,
        went_on: WentOn,
    ) -> Self {
        let (verified, told) = (Mutex::default(), Mutex::default());
        Self { store, engine, provenance, vault, verified, went_on, told }
    }

    /// Tells that starts of an image go on, once a second at most.
    pub fn went_on(&self, image: &Digest) {
        let now = Instant::now();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.get(image).is_some_and(|last| now < *last + NEWS_INTERVAL) {
            return;
        }
        told.insert(*image, now);
        drop(told);
        (self.went_on)(*image);
    }

    /// The store.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// The engine.
    pub fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }

    /// Learns of a release that was made: what the newest one trusts counts for all of its service.
    pub fn learn(&self, release: &Release) {
        self.provenance.learn(release);
    }

    /// Whether the images of these services may run as they are asked for now: somebody whom they trust vouches for each.
    pub fn accept(&self, services: &[ServiceSpec]) -> Result<(), Denied> {
        services.iter().try_for_each(|spec| self.provenance.check(&spec.image, &spec.trust))
    }

    /// Whether the images of releases that were made before may run, by what they trust and their newest ones do still.
    pub fn accept_again(&self, releases: &[ServiceSpec]) -> Result<(), Denied> {
        releases.iter().try_for_each(|spec| self.provenance.check_release(spec))
    }

    /// The tests that an image declares.
    pub fn tests_of(&self, image: &Digest) -> anyhow::Result<Vec<ImageTest>> {
        Ok(self.store.image(image)?.config.tests)
    }

    /// The instance of a release, where its image comes from and what it is verified by checks that began after this
    /// call.
    pub fn instance_spec(
        &self,
        id: &InstanceId,
        release: ReleaseNumber,
        spec: &ServiceSpec,
    ) -> anyhow::Result<InstanceSpec> {
        match release {
            // What is tested need not be of a release at all.
            TEST_RELEASE => self.provenance.check(&spec.image, &spec.trust)?,
            _ => self.provenance.check_release(spec)?,
        }
        self.verify(&spec.image)?;
        let config = self.store.image(&spec.image)?.config;
        let mut env = config.env;
        env.extend(spec.env.clone());
        let user = self.store.resolve_user(&spec.image, &config.user)?;
        let mut files = self.files(spec)?;
        files.extend(self.secrets(spec, &config.user)?);
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(InstanceSpec {
            id: id.clone(),
            service: spec.name.clone(),
            release,
            image: spec.image,
            command: config.command,
            env,
            user: User { uid: user.uid, gid: user.gid, groups: user.groups },
            workdir: config.workdir,
            scratch: config.scratch,
            resources: spec.resources.clone(),
            egress: spec.egress,
            hostname: id.as_str().to_owned(),
            hosts: Vec::new(),
            stop_signal: spec.stop_signal,
            files,
            mounts: Vec::new(),
        })
    }

    /// The files of a service's configuration, with owners as its image knows them.
    fn files(&self, spec: &ServiceSpec) -> anyhow::Result<Vec<InstanceFile>> {
        if spec.config.is_empty() {
            return Ok(Vec::new());
        }
        let kept = spec.configuration.context("nothing keeps the files of its configuration")?;
        self.verify(&kept).context("its configuration is not as it was written")?;
        let one = |file: &ConfigFile| {
            let owner = self.store.resolve_user(&spec.image, &file.owner);
            let owner = owner.with_context(|| format!("the owner of `{}`", file.path))?;
            Ok(InstanceFile {
                path: file.path.clone(),
                mode: file.mode,
                uid: owner.uid,
                gid: owner.gid,
                content: FileContent::Stored(file.content),
            })
        };
        spec.config.iter().map(one).collect()
    }

    /// The first secret of a service whose value is no longer in the home.
    pub fn lost_secret<'s>(&self, spec: &'s ServiceSpec) -> Option<&'s SecretFile> {
        spec.secrets.iter().find(|secret| !self.vault.has(&secret.name, &secret.version))
    }

    /// What a secret holds, which a server that is asked something wants as a password; the only secrets that this process
    /// ever opens.
    pub fn open_secret(&self, secret: &SecretFile) -> Result<Zeroizing<Vec<u8>>, SecretError> {
        self.vault.sealed(&secret.name, &secret.version)?.open()
    }

    /// The secrets of a service, of which this process knows no more than that they are there.
    fn secrets(&self, spec: &ServiceSpec, user: &str) -> anyhow::Result<Vec<InstanceFile>> {
        let one = |secret: &SecretFile| {
            let SecretFile { name, version, path, mode, owner } = secret;
            if !self.vault.has(name, version) {
                let gone = SecretError::Gone { name: name.clone(), version: version.clone() };
                return Err(gone.into());
            }
            let owner = if owner.is_empty() { user } else { owner };
            let owner = self.store.resolve_user(&spec.image, owner);
            let owner = owner.with_context(|| format!("the owner of `{path}`"))?;
            let content = FileContent::Secret { name: name.clone(), version: version.clone() };
            Ok(InstanceFile {
                path: path.clone(),
                mode: *mode,
                uid: owner.uid,
                gid: owner.gid,
                content,
            })
        };
        spec.secrets.iter().map(one).collect()
    }

    /// Verifies an image. Callers that ask while a check runs wait; one that began after they asked serves them too.
    fn verify(&self, image: &Digest) -> anyhow::Result<()> {
        let asked = Instant::now();
        let slot = {
            let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(verified.entry(*image).or_default())
        };
        let mut last = slot.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = last.as_ref().filter(|(began, _)| *began >= asked);
        let result = match fresh {
            Some((_, result)) => result.clone(),
            None => {
                let began = Instant::now();
                let checked = self.store.verify_watched(&[*image], &|| self.went_on(image));
                let result = checked.map(drop).map_err(|error| error_chain(&error));
                *last = Some((began, result.clone()));
                result
            }
        };
        result
            .map_err(anyhow::Error::msg)
            .with_context(|| format!("image `{}` is not as it was baked", image.short()))
    }
}

/// The last lines that an instance wrote; none where they can't be read, since a failure is told without them too.
pub fn log_tail(engine: &dyn Engine, id: &InstanceId) -> Vec<String> {
    let query = LogQuery::all(LogFrom::Tail, LOG_TAIL_LINES);
    let page = engine.logs(id, &query);
    let cut = |line: hornero_engine_port::log::LogLine| {
        let mut text = line.text;
        let cut = (0..=TAIL_LINE_BYTES.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(cut.unwrap_or(0));
        text
    };
    page.map(|page| page.lines.into_iter().map(cut).collect()).unwrap_or_default()
}
