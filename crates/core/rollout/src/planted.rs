//! Planted bugs: mistakes that somebody could make here, for the simulation to find. Only in builds with the feature
//! `planted`, which nothing but the simulation's own test turns on; everywhere else the question is always `false`.

macro_rules! bugs {
    ($($bug:ident: $text:literal,)*) => {
        /// A mistake.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Bug {
            $(#[doc = $text] $bug,)*
        }

        impl Bug {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$bug,)*];

            /// Its name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$bug => stringify!($bug),)* }
            }

            /// What it makes of the code.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$bug => $text,)* }
            }
        }
    };
}

bugs! {
    SwitchesHalfReady: "a new set is ready as soon as one of it is healthy",
    SwitchesUntested: "the image's tests are not waited for",
    SwitchesUnconfirmed: "a switch counts as done before the edge confirmed it",
    ProvesUnwatched: "a release is proven without its watch",
    CutsAtOnce: "requests are cut off without the time to end",
    StaysWithTheSick: "a release that fails its watch serves on though the one before is healthy",
    EmptiesUnclosed: "the servers of a removal end before its ways in are closed",
    StopsUndrained: "a server that leaves is not given the time of its requests",
    StopsRouted: "a server is stopped though a table lists it",
    KeepsWarmForEver: "the set that served before is never stopped",
    RepairsTwice: "a replacement that is not healthy yet is replaced as well",
    RepairsNever: "what died is not replaced",
    RepairsWithoutEnd: "what fails is replaced at once, and for ever",
    KeepsSurplus: "what is more than wanted serves on",
    KeepsSick: "what stays unhealthy is not replaced",
    TakesUnknownForHealthy: "a server that nobody has checked counts as healthy",
    SharesTooEarly: "a release gets all requests while it is being prepared",
    LeavesOutAServer: "the table lacks one server of each set",
    LeavesOutNewRoutes: "the table has only the ways in of the oldest release",
    LeavesOutNewSets: "the table lists the servers of the foremost release alone",
    RepeatsGenerations: "a table has the number of the one in force",
    ReceiptCountsTwice: "a receipt counts what was cut off among what was drained as well",
    PromotesTheWorse: "a canary that does worse goes on",
    BelievesOldStatuses: "a status that comes late counts as new",
    BelievesAnyConfirmation: "the confirmation of one table counts for another",
    MissesWhatEndedMeanwhile: "what ended while control was dead counts as running",
    LeavesStrangers: "what runs and is in no ledger is left alone",
    NeverTriesAgain: "an effect that failed is not tried again",
    WaitsForEverForAnswers: "an answer that was lost is waited for without end",
    ScalesDownAtOnce: "servers leave that one moment does not need",
    SleepsUnderLoad: "nothing of a service runs though requests come to it",
    WakesNobody: "nothing is made for requests that wait at a service of which nothing runs",
    KeepsTheTerm: "a control that starts keeps the term of the one before it",
    CommitsBeforeAllPrepared: "an edge puts a table in force that another one has not prepared",
    IgnoresRoom: "servers are decided on that there is no memory for",
    KeepsPreviews: "a preview stays when its time is up",
    EndsLeasesEarly: "the lease of a volume ends when its server is told to stop",
    RepeatsTurns: "a time of a schedule that was begun is begun once more",
    ForgetsFailedRehearsals: "a rehearsal that failed keeps no release from coming",
    IgnoresProbes: "what the edge's own requests show of a canary is not looked at",
    AsksForStartsOnce: "a start without an answer is asked for again when its server was given up",
    BlamesReleasesForEdges: "a server that no edge could look at counts as unhealthy",
    OverlooksServers: "a server that is seen to end, or to be sick, does not end the rest of its service",
    AnswersBeforeRepair: "who asks for a service that lacks servers is told that it is done",
}

#[cfg(feature = "planted")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = std::cell::Cell::new(named());
}

/// The bug that the environment names, so that any test can be run with it.
#[cfg(feature = "planted")]
#[allow(clippy::disallowed_methods, reason = "only in builds that have bugs planted")]
fn named() -> Option<Bug> {
    let name = std::env::var("HORNERO_PLANTED").ok()?;
    Bug::ALL.iter().copied().find(|bug| bug.name() == name)
}

/// Plants a bug in all that this thread does from here on, or none.
#[cfg(feature = "planted")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Whether a bug is planted.
#[cfg(feature = "planted")]
pub fn planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Whether a bug is planted: never.
#[cfg(not(feature = "planted"))]
pub const fn planted(_: Bug) -> bool {
    false
}
