//! Bills of materials: which package or source every file of an image belongs to, as SPDX and CycloneDX.
