//! What holds where `hornero.hcl` says nothing.

use hornero_model::{Millis, OnInconclusive};

/// Instances of a service.
pub const INSTANCES: u32 = 1;
/// Time between two checks of a healthy instance: a dead one leaves the traffic within about two seconds.
pub const HEALTH_INTERVAL: Millis = Millis(500);
/// How long one check may take.
pub const HEALTH_TIMEOUT: Millis = Millis(1_000);
/// Failures in a row that take an instance out of traffic: one slow answer does not.
pub const UNHEALTHY_AFTER: u32 = 3;
/// Passes in a row that bring an instance into traffic.
pub const HEALTHY_AFTER: u32 = 1;
/// Time from start to the first passed check: enough for a virtual machine of a language to warm up.
pub const START_TIMEOUT: Millis = Millis(30_000);
/// Path of an HTTP check.
pub const CHECK_PATH: &str = "/";
/// How long requests in flight may take after a switch.
pub const DRAIN_TIMEOUT: Millis = Millis(30_000);
/// How long the old set stays for a warm rollback.
pub const KEEP_WARM: Millis = Millis(10 * 60_000);
/// How long a new set is watched after the switch.
pub const WATCH: Millis = Millis(2_000);
/// Shares of a canary, as weights: a tenth costs few users much, a half shows what load does.
pub const CANARY_STEPS: [u32; 2] = [1_000, 5_000];
/// How long a step of a canary waits for a verdict: ten requests a second are some 3,000 by then.
pub const CANARY_STEP_TIMEOUT: Millis = Millis(5 * 60_000);
/// How often the edge asks each release of a canary that is probed: a hundred requests of each are there in ten seconds.
pub const PROBE_INTERVAL: Millis = Millis(100);
/// What becomes of a canary about which nothing can be said: what serves is known to work.
pub const ON_INCONCLUSIVE: OnInconclusive = OnInconclusive::Abort;
/// How long requests wait while servers are replaced in their place: longer than most take to start, and no longer than
/// most clients wait.
pub const HOLD: Millis = Millis(30_000);
/// How many may wait then.
pub const HOLD_REQUESTS: u32 = 1_000;
/// How long the snapshot of a replacement is kept.
pub const KEEP_SNAPSHOT: Millis = Millis(7 * 24 * 3_600_000);
/// How long a quiesce command may take.
pub const QUIESCE_TIMEOUT: Millis = Millis(30_000);
/// How long a schema step may take.
pub const STEP_TIMEOUT: Millis = Millis(600_000);
/// How long a data guard is asked again until it passes.
pub const GUARD_WITHIN: Millis = Millis(30_000);
/// Whom a guard asks a PostgreSQL server as, and in which database: those that its packages make.
pub const GUARD_POSTGRES: &str = "postgres";
/// Whom a guard asks an AMQP server as: the user that RabbitMQ has at first.
pub const GUARD_AMQP: &str = "guest";
/// How long fewer servers have to be enough: longer than the pauses within a rush.
pub const STABILISE: Millis = Millis(60_000);
/// How long no request may have come before nothing runs, where nothing has to: longer than most people read a page.
pub const SCALE_IDLE: Millis = Millis(5 * 60_000);
/// Memory of an instance, in bytes.
pub const MEMORY_BYTES: u64 = 256 << 20;
/// Processor time of an instance, in thousandths of a core.
pub const CPU_MILLIS: u32 = 1_000;
/// Processes and threads of an instance.
pub const PIDS: u32 = 256;
/// Whether an instance may open connections to outside.
pub const EGRESS: bool = true;
/// Size of a scratch directory, in bytes.
pub const SCRATCH_BYTES: u64 = 64 << 20;
/// How long one try of a job may take.
pub const DEADLINE: Millis = Millis(3_600_000);
/// How long an image's test may take, start of the server included.
pub const TEST_TIMEOUT: Millis = Millis(30_000);

/// Whether a volume may only be removed once its declaration says so.
pub const PREVENT_DESTROY: bool = true;
