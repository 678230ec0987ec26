//! What a secrets backend is to claviger.
//!
//! Owns the capability traits ([`SecretSource`], [`SecretVersions`], [`SecretCreator`], [`SecretRotator`], [`Register`],
//! [`KeySource`]), the values that cross them ([`Secret`], [`SecretRef`], [`Fetched`]), the seam for keys of a backend's own
//! ([`KeyKeeper`]) and the one error taxonomy ([`BackendError`]). Never contains an SDK, a runtime or a policy: no type of a
//! vendor crosses these traits, and no backend sees the daemon or another backend.
//!
//! A backend is a [`Backend`]: a struct of capabilities, in which an absent one is `None` and is noticed at start. Backends
//! do not retry, cache or log values; wrappers in the daemon's `registry` do. `backends/file` is the example to copy, and
//! `backends/conformance` tests every sentence of the contracts here.

#![forbid(unsafe_code)]

mod backend;
mod error;
mod keep;
mod reference;
mod secret;

pub use backend::{
    Backend, Fetched, KeySource, Loaded, PublicKey, Register, Revision, SecretCreator,
    SecretRotator, SecretSource, SecretVersions, Signature, Staged, VersionInfo, VersionState,
};
pub use error::{BackendError, Class, Kind};
pub use keep::{HeapKeeper, KeptKey, KeyKeeper, NotKept};
pub use reference::{
    BackendName, FieldName, InvalidReference, OperationId, SecretName, SecretRef, VersionId,
    VersionSelector,
};
pub use secret::Secret;

/// The largest value that claviger reads or writes, in bytes. AWS Secrets Manager and GCP Secret Manager take no more.
pub const MAX_VALUE_BYTES: usize = 64 * 1024;
