//! The words of Hornero as types: parsed once at a boundary, then passed around valid.
//!
//! Every other crate may depend on this one; it depends on nothing of ours and does no I/O.

mod actor;
mod alert_settings;
mod api_settings;
mod boot;
mod budget;
mod bundle;
mod call;
mod check;
mod copy_on_write;
mod digest;
mod directory;
mod drift;
mod error_chain;
mod event;
mod figures;
mod freeze;
mod glass;
mod guard;
mod host;
mod image;
mod instance;
mod intervention;
mod job;
mod key;
mod latency;
mod listener;
mod migrate;
mod mount_field;
mod name;
mod pool;
mod preview;
mod protocol;
mod purl;
mod receipt;
mod region;
mod rehearsal;
mod release;
mod role;
mod room;
mod route;
mod run;
mod scale;
mod schedule;
mod secret;
mod service;
mod sticky;
mod strategy;
mod term;
mod time;
mod usage;
mod version;
mod volume;
mod written;

pub use actor::Actor;
pub use alert_settings::AlertSettings;
pub use api_settings::{ApiListener, ApiSettings, ClientGrant, GroupGrant, TokenGrant};
pub use boot::BootId;
pub use budget::{Budget, ChurnBreach, ChurnScope, ChurnWindow};
pub use bundle::{BundleBody, BundleSeal};
pub use call::{EdgeCalls, SeenCall};
pub use check::{Check, HealthContract, HttpCheck, TcpCheck};
pub use copy_on_write::CopyOnWrite;
pub use digest::{Digest, DigestError};
pub use directory::{Directory, DirectoryError, Standing};
pub use drift::{Depth, DriftFinding, VerifiedInstance};
pub use error_chain::error_chain;
pub use event::{Event, EventBody, JournalEntry, NewEvent};
pub use figures::GroupFigures;
pub use freeze::Freeze;
pub use glass::{GlassEnd, GlassEndReason, GlassSession};
pub use guard::{
    AmqpProbe, DataGuard, DataProbe, GuardAnswer, GuardMeasure, GuardVerdict, HttpProbe,
    JsonCondition, JsonTest, NatsProbe, PostgresProbe, ProbeLogin, RedisProbe,
};
pub use host::{HostFeature, HostState, install_line};
pub use image::{ImageConfig, ImageTest, Scratch, TestCheck};
pub use instance::{ExitCause, FileIdentity, InstanceHandle, InstanceState, Location, User};
pub use intervention::{Intervention, Steer};
pub use job::{CronLine, Job, JobTurn};
pub use key::{PublicKey, PublicKeyError};
pub use latency::{LatencyBucket, LatencyHistogram};
pub use listener::{ListenerLimits, RouteTls};
pub use migrate::{
    Migrate, PointOfNoReturn, StepName, StepNameError, StepPhase, StepRuling, StepTurn,
};
pub use mount_field::mount_field;
pub use name::{
    EdgeName, FreezeName, GlassId, GuardName, ImageName, InstanceId, JobName, KeyName, NameError,
    Place, PortName, PreviewName, RegionName, ReleaseNumber, RolloutId, ScheduleName, SecretLabel,
    ServiceName, VolumeName,
};
pub use pool::{Admission, Pool, PoolBackend, PoolName, PoolProbe, Share};
pub use preview::{Preview, PreviewRule};
pub use protocol::{Protocol, ProxyProtocol};
pub use purl::DebianPurl;
pub use receipt::{Receipt, ReceiptBody};
pub use region::{EdgeRef, Spread};
pub use rehearsal::{Rehearsal, RehearsalEnd};
pub use release::{Release, ReleaseRef};
pub use role::Role;
pub use room::{Batched, Room};
pub use route::{
    AnswerClasses, BackendStatus, ConnectionCounters, EdgeConnections, EdgeStatus, Health,
    HostCertificate, Listener, ListenerFault, PoolWaiting, ProbeCounters, ReleaseCounters,
    RouteRule, RouteTable,
};
pub use run::{CutOff, Run, RunEnd};
pub use scale::{Scale, ToZero};
pub use schedule::{MissedTimes, ScheduleAction, ScheduleEnd, ScheduleResult, ScheduleSpec};
pub use secret::{SecretFile, SecretVersion};
pub use service::{
    ConfigFile, Keep, MetricsEndpoint, Port, Resources, RolloutPolicy, Route, STOP_GRACE,
    ServiceKind, ServiceSpec, StopSignal, TrustedKey,
};
pub use sticky::Sticky;
pub use strategy::{
    CanaryPolicy, CanaryProbe, CanaryStep, JudgePolicy, OnInconclusive, Quiesce, ReplacePolicy,
    RollingPolicy, SnapshotPolicy, Strategy,
};
pub use term::Term;
pub use time::{Millis, Timestamp};
pub use usage::{InstanceUsage, Pressure};
pub use version::{program_version, set_program_version};
pub use volume::{
    LeaseToken, LeasedMount, MountedVolume, SnapshotPurpose, TakenSnapshot, Volume, VolumeChange,
};
pub use written::{WrittenFile, WrittenFormat, WrittenInstance};
