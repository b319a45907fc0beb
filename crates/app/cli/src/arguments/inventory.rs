//! The formats of an inventory.

use clap::ValueEnum;

/// The formats that an inventory can be written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum InventoryFormat {
    /// JSON.
    Json,
    /// A line for each instance, for spreadsheets.
    Csv,
    /// `CycloneDX` 1.6 as JSON.
    Cyclonedx,
    /// Prometheus' text format.
    Prometheus,
    /// JSON, as Ansible reads it of a program.
    Ansible,
}
