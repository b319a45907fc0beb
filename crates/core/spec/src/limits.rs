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
/// Routes of one service.
pub const ROUTES: usize = 64;
/// Secrets of one image: each is a mount in the build sandbox, which has at most 32.
pub const SECRETS: usize = 16;
/// Values in the extra variables of one playbook: they are an argument of a program, and shared parts are written out.
pub const EXTRA_VARS: u64 = 10_000;
/// Releases that a keep-rule may name: more than a lifetime of daily rollouts.
pub const KEEP_RELEASES: u32 = 10_000;
/// Days that a keep-rule may name: ten years.
pub const KEEP_DAYS: u32 = 3_660;
/// Elements of one list (packages, copies, commands, scratch directories).
pub const LIST: usize = 4_096;
/// Keys of one object: the parser of HCL compares each with all before it.
pub const OBJECT_KEYS: usize = 8_192;
/// Bytes of one path: `PATH_MAX` of Linux.
pub const PATH_BYTES: usize = 4_096;
/// Bytes of one environment variable or argument: `MAX_ARG_STRLEN` of Linux.
pub const ARGUMENT_BYTES: usize = 131_071;
/// Symlinks followed on the way to a copy source, as the kernel does.
pub const SYMLINKS: usize = 40;
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
