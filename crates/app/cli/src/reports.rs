//! What `--json` prints: structs of this command's own, by subject.

mod access;
mod baking;
mod comparing;
mod forensics;
mod home;
mod images;
mod inventory;
mod keeping;
mod operations;
#[cfg(test)]
mod page;
mod runs;
mod secrets;
mod settings;
mod state;
mod transport;

pub use access::{AccessSettings, TokenReport};
pub use baking::{
    BuildReport, BuiltImage, BuiltStep, LockReport, LockedCount, PatchOutcome, RefusedBase,
    ReproductionReport, TestedImage, TwiceReport,
};
pub use comparing::{MistakesReport, TreeReport};
pub use forensics::{AutopsyReport, ExportedBundle, ListedBundle};
pub use home::{
    AcceptedLedger, HomeBackupReport, HomeCheckReport, HomeMoveReport, HomeRestoreReport,
};
pub use images::{
    ImageList, ImageVerifyReport, InspectedImage, LastTest, ListedImage, PinReport, ReleaseOfImage,
    UntagReport,
};
pub use inventory::{
    InventoryImage, InventoryInstance, InventoryPackage, InventoryReport, InventoryService,
};
pub use keeping::{
    CeilingOutcome, CollectedImage, CollectionReport, DamagedUse, Firmness, FsckFinding,
    FsckReport, FsckResult, ImageUseReport, KeepReason, KeptImageReport, MissingImage,
    StoreUseReport, WhyCollected, WhyKeptReport,
};
pub use operations::{GoingOn, OperationReport, PreviewReport, RollbackReport, Timing};
pub use runs::{GlassReport, ReplayReport, ReplayedMoment, RunReport};
pub use secrets::{ListedSecret, RemovedSecret, SecretReport};
pub use settings::{BundleSettings, LogSettings, OtlpReport, SettingsReport};
pub use state::{LintedService, StateLintReport};
pub use transport::{ExportReport, ImportReport, PullReport, PushReport};
