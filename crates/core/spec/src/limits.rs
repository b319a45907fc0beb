//! How large what `hornero.hcl` says may be, each with its reason.
//!
//! Depth is limited by the parser of HCL itself: 64 nested blocks, brackets and templates, 128 chained operators.

use hornero_model::Millis;

/// Bytes of the file: a thousand services fit in a tenth of it.
pub const FILE_BYTES: usize = 1 << 20;
/// Errors that are shown: past that, the first ones explain the rest.
pub const ERRORS: usize = 50;
/// Steps of evaluating all expressions: ends nested `for` expressions that would run for hours.
pub const EVALUATION_STEPS: u64 = 1_000_000;
/// Bytes of strings made by all expressions: ends templates that repeat each other.
pub const EVALUATION_BYTES: u64 = 16 << 20;
/// Blocks of one kind: keeps every later stage's tables small.
pub const BLOCKS: usize = 1_000;
/// Instances of one service: more than one machine carries, and few enough for a second set beside the first.
pub const INSTANCES: u32 = 1_000;
/// Ports of one service: each is a listener on the bridge.
pub const PORTS: usize = 64;
/// Routes of one service: a host for each customer, say; the edge takes four thousand on one listener.
pub const ROUTES: usize = 1_000;
/// Networks of trusted proxies of one route: a provider of many has a few dozen.
pub const TRUSTED_PROXIES: usize = 256;
/// Connections that a route may allow: more than one process has files for.
pub const CONNECTIONS: u32 = 1_000_000;
/// How long a route may wait for a head: a client that takes longer sends none.
pub const HEAD_TIMEOUT: Millis = Millis(600_000);
/// How long a route may keep a silent connection.
pub const IDLE_TIMEOUT: Millis = Millis(7 * 86_400_000);
/// Secrets of one image: each is a mount in the build sandbox, which has at most 32.
pub const SECRETS: usize = 16;
/// Values in the extra variables of one playbook: they are an argument of a program, and shared parts are written out.
pub const EXTRA_VARS: u64 = 10_000;
/// Steps of a canary: each shares the bound on the judge's errors with the others.
pub const CANARY_STEPS: usize = 20;
/// Requests that a canary may need before it is judged the same.
pub const JUDGED_REQUESTS: u32 = 10_000_000;
/// How long requests may wait while servers are replaced in their place: no client waits longer.
pub const HOLD: Millis = Millis(600_000);
/// How long the snapshot of a replacement is kept at least: until long after that.
pub const LEAST_SNAPSHOT: Millis = Millis(3_600_000);
/// How long a quiesce command may take: the old servers serve meanwhile, and somebody waits for the new ones.
pub const QUIESCE_TIMEOUT: Millis = Millis(600_000);
/// How long a schema step may take: somebody waits for what comes after, or looks in on it.
pub const STEP_TIMEOUT: Millis = Millis(86_400_000);
/// Schema steps of a service before it comes, and after: each is a server of its own.
pub const STEPS: usize = 64;
/// How long a data guard is asked again at most: somebody waits for what comes after.
pub const GUARD_WITHIN: Millis = Millis(3_600_000);
/// How long a data guard is asked again at least: a probe takes a moment.
pub const LEAST_GUARD_WITHIN: Millis = Millis(1_000);
/// Data guards of a service: each is a question before every change.
pub const GUARDS: usize = 32;
/// How many may wait then: more than the edge has connections by default.
pub const HOLD_REQUESTS: u32 = 100_000;
/// What one server may be said to have to do before another one is wanted: no server does more.
pub const SCALE_TARGET: u32 = 10_000_000;
/// How long fewer servers have to be enough at least: less is noise.
pub const STABILISE_MIN: Millis = Millis(1_000);
/// The longest: who waits longer wants another `minimum`.
pub const STABILISE: Millis = Millis(3_600_000);
/// How long no request may have come at least before nothing runs: what was counted before has to be averaged out.
pub const SCALE_IDLE_MIN: Millis = Millis(3_000);
/// The longest: who waits longer wants a `minimum` of 1.
pub const SCALE_IDLE: Millis = Millis(7 * 86_400_000);
/// How long a request that finds nothing running may wait for a server at least: a start takes that long at times.
pub const SCALE_HOLD_MIN: Millis = Millis(1_000);
/// Releases that a keep-rule may name: more than a lifetime of daily rollouts.
pub const KEEP_RELEASES: u32 = 10_000;
/// Days that a keep-rule may name: ten years.
pub const KEEP_DAYS: u32 = 3_660;
/// Servers that a budget may allow: a thousand of them anew every minute and a half, all day.
pub const BUDGET: u32 = 1_000_000;
/// Labels of a service: each is part of every line of an inventory.
pub const LABELS: usize = 32;
/// Bytes of the name or the value of a label.
pub const LABEL_BYTES: usize = 128;
/// Elements of one list (packages, copies, commands, scratch directories).
pub const LIST: usize = 4_096;
/// Keys of one object: the parser of HCL compares each with all before it.
pub const OBJECT_KEYS: usize = 8_192;
/// Bytes of one path: `PATH_MAX` of Linux.
pub const PATH_BYTES: usize = 4_096;
/// Bytes of one environment variable or argument: `MAX_ARG_STRLEN` of Linux.
pub const ARGUMENT_BYTES: usize = 131_071;
/// Bytes of a service's environment, names included: releases carry it for ever, and what is larger belongs into a file.
pub const SERVICE_ENV_BYTES: usize = 64 << 10;
/// Configuration files of one service: each is a mount.
pub const CONFIG_FILES: usize = 16;
/// Bytes of one configuration file, and of its template: they lie in memory once for each instance.
pub const CONFIG_BYTES: usize = 64 << 10;
/// Secrets of one service: each is a mount.
pub const SERVICE_SECRETS: usize = 16;
/// Tries of a job after the first.
pub const RETRIES: u32 = 100;
/// Symlinks followed on the way to a copy source, as the kernel does.
pub const SYMLINKS: usize = 40;
/// How long a server may take to end: whoever takes it down waits for it.
pub const STOP_GRACE: Millis = Millis(600_000);
/// The longest span of time; longer is a slip of the pen.
pub const DURATION: Millis = Millis(10 * 366 * 86_400_000);
/// The largest size in bytes: 1 PiB; longer is a slip of the pen.
pub const SIZE_BYTES: u64 = 1 << 50;
/// Cores of one instance.
pub const CPUS: u32 = 1_024;
/// Processes of one instance: the kernel's own limit of process numbers.
pub const PIDS: u32 = 4_194_304;
/// Memory below which no process starts, in bytes.
pub const MEMORY_MIN_BYTES: u64 = 4 << 20;

/// The least size of a volume, in bytes: a file system with a journal has room in it.
pub const LEAST_VOLUME_BYTES: u64 = 16 << 20;
