//! Scenarios: how the servers made from an image behave, and the services that run them.

use std::{collections::BTreeMap, net::IpAddr};

use hornero_model::{
    Check, DataGuard, Digest, GuardAnswer, GuardName, GuardVerdict, HealthContract, ImageName,
    InstanceId, Millis, MountedVolume, Port, PortName, Protocol, Quiesce, ReplacePolicy, Resources,
    RolloutPolicy, Route, ServiceName, ServiceSpec, SnapshotPolicy, Strategy, TcpCheck, VolumeName,
};
use hornero_rollout::GuardQuestion;

use crate::Random;

/// How long the services of a history let requests end.
pub const DRAIN_TIMEOUT: Millis = Millis(2_000);

/// What is wrong with the servers of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing.
    None,
    /// Their command can't be started.
    NotStarted,
    /// They end with a code soon after their start.
    CrashAtStart,
    /// They run but never pass a check.
    NeverHealthy,
    /// They are healthy, and fail their checks some time later.
    SickLater,
    /// They are healthy, and run out of memory some time later.
    OutOfMemoryLater,
    /// A test of the image fails.
    TestFails,
    /// They pass every check, and answer a fifth of the requests with an error.
    Errs,
}

/// How the servers made from an image behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behaviour {
    /// What is wrong with them.
    pub trouble: Trouble,
    /// Time that their image is verified before they start, in milliseconds.
    pub verified_for_ms: u64,
    /// Whether it is told that the verification goes on.
    pub tells_verification: bool,
    /// Time from their start to the first passed check, in milliseconds.
    pub healthy_after_ms: u64,
    /// When later trouble comes, in milliseconds after their start.
    pub trouble_after_ms: u64,
    /// Whether the image declares tests.
    pub has_tests: bool,
}

/// The images of a history.
#[derive(Debug, Clone, Default)]
pub struct Scenario {
    behaviours: BTreeMap<Digest, Behaviour>,
    /// From when on guards pass, by name; until then they refuse. Others pass always.
    pub guards_pass_from: BTreeMap<GuardName, u64>,
}

impl Behaviour {
    /// Servers that work.
    pub const GOOD: Self = Self {
        trouble: Trouble::None,
        verified_for_ms: 0,
        tells_verification: true,
        healthy_after_ms: 60,
        trouble_after_ms: 0,
        has_tests: true,
    };

    /// Servers with a trouble.
    pub const fn with(trouble: Trouble) -> Self {
        Self { trouble, trouble_after_ms: 700, ..Self::GOOD }
    }

    /// Servers as chance has it; mostly good ones.
    pub fn any(random: &mut Random) -> Self {
        let trouble = if random.chance(55) {
            Trouble::None
        } else {
            *random.choose(&[
                Trouble::NotStarted,
                Trouble::CrashAtStart,
                Trouble::NeverHealthy,
                Trouble::SickLater,
                Trouble::OutOfMemoryLater,
                Trouble::TestFails,
            ])
        };
        Self {
            trouble,
            verified_for_ms: 0,
            tells_verification: true,
            healthy_after_ms: random.between(5, 400),
            trouble_after_ms: random.between(100, 4_000),
            has_tests: random.chance(70) || trouble == Trouble::TestFails,
        }
    }
}

impl Scenario {
    /// A new image whose servers behave so.
    pub fn image(&mut self, behaviour: Behaviour) -> Digest {
        let digest = Digest::of(format!("image {}", self.behaviours.len()).as_bytes());
        self.behaviours.insert(digest, behaviour);
        digest
    }

    /// The servers that are made from an image from now on behave so, as where what they depend on changed.
    pub fn change(&mut self, image: &Digest, behaviour: Behaviour) {
        self.behaviours.insert(*image, behaviour);
    }

    /// What guards say now: nobody answers for a server that does not run.
    pub fn answers(&self, question: &GuardQuestion, now: u64) -> Vec<GuardAnswer> {
        let pairs = question.guards.iter().flat_map(|guard| {
            question.servers.iter().map(move |(instance, address)| (guard, instance, address))
        });
        let answer = |(guard, instance, address): (&DataGuard, &InstanceId, &Option<IpAddr>)| {
            let from = self.guards_pass_from.get(&guard.name).copied().unwrap_or(0);
            let verdict = match address {
                None => GuardVerdict::Unanswered,
                Some(_) if now < from => GuardVerdict::Refuses,
                Some(_) => GuardVerdict::Passes,
            };
            let (guard, instance) = (guard.name.clone(), Some(instance.clone()));
            GuardAnswer { guard, instance, verdict, seen: format!("{verdict:?}") }
        };
        pairs.map(answer).collect()
    }

    /// How the servers of an image behave.
    pub fn behaviour(&self, image: &Digest) -> Behaviour {
        self.behaviours[image]
    }
}

/// What one server may take, in bytes.
pub const SERVER_BYTES: u64 = 1 << 26;

/// A service of `instances` with one HTTP port and one route; the timing is quick, so that histories are short.
pub fn service(name: &str, image: Digest, instances: u32) -> ServiceSpec {
    let http = PortName::new("http").expect("a valid name");
    let listen = 8000 + u16::from(name.as_bytes()[0]);
    let resources = Resources { memory_bytes: SERVER_BYTES, cpu_millis: 1_000, pids: 100 };
    let name = ServiceName::new(name).expect("a valid name");
    let image_name = ImageName::new("app").expect("a valid name");
    ServiceSpec {
        instances,
        ports: vec![Port::new(http.clone(), 80, Protocol::Http)],
        health: Some(HealthContract {
            check: Check::Tcp(TcpCheck { port: 80 }),
            interval: Millis(100),
            timeout: Millis(100),
            unhealthy_after: 2,
            healthy_after: 1,
            start_timeout: Millis(3_000),
        }),
        routes: vec![Route::new(listen, http, Protocol::Http)],
        rollout: RolloutPolicy {
            strategy: Strategy::BlueGreen,
            drain_timeout: DRAIN_TIMEOUT,
            keep_warm: Millis(8_000),
            watch: Millis(500),
        },
        egress: true,
        ..ServiceSpec::of_image(name, image_name, image, resources)
    }
}

/// The same service as one with a volume of its own: one server, which goes before the next one comes.
pub fn stateful(spec: ServiceSpec) -> ServiceSpec {
    let volume = VolumeName::new(spec.name.as_str()).expect("a valid name");
    let quiesce = Quiesce { command: vec!["/srv/flush".to_owned()], timeout: Millis(5_000) };
    let replace = ReplacePolicy {
        quiesce: Some(quiesce),
        snapshot: Some(SnapshotPolicy { keep: Millis(3_600_000) }),
        ..ReplacePolicy::holding(Millis(20_000), 1_000)
    };
    ServiceSpec {
        instances: 1,
        mounts: vec![MountedVolume { path: "/data".to_owned(), volume }],
        rollout: RolloutPolicy {
            strategy: Strategy::Replace(replace),
            keep_warm: Millis(0),
            ..spec.rollout
        },
        ..spec
    }
}
