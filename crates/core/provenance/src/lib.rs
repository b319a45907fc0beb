//! Signed statements of how an image came to be, and the policy that accepts or refuses them.
//!
//! A statement is an [in-toto Statement v1](https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md) with
//! [SLSA v1 provenance](https://slsa.dev/spec/v1.0/provenance), signed with ed25519 in a
//! [DSSE envelope](https://github.com/secure-systems-lab/dsse). [`attest`] makes one of an image, [`sign`] seals it, and
//! [`verify`] says whether a policy accepts it for an image, without asking anybody.

mod attest;
mod claim;
mod envelope;
mod key;
mod policy;
mod statement;

pub use attest::{Archive, Attested, Origin, Package, Parent, Source, attest};
pub use claim::is_claimed;
pub use envelope::{ENVELOPE_BYTES_MAX, PAYLOAD_TYPE, SIGNATURE_COUNT_MAX, pae, sign};
pub use key::{BESIDE_MAX, KeyId, Signer, places};
pub use policy::{ENVELOPE_COUNT_MAX, Policy, ProvenanceRefusal, Verified, verify, verify_any};
pub use statement::{
    BuildDefinition, BuildMetadata, Builder, PREDICATE_TYPE, Provenance, ResourceDescriptor,
    RunDetails, STATEMENT_TYPE, Statement, Subject,
};
