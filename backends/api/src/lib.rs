//! The interface of a secrets backend.
//!
//! Owns the capability traits ([`SecretSource`], [`SecretVersions`], [`SecretCreator`], [`SecretRotator`], [`Register`],
//! [`KeySource`]), the values that cross them ([`Secret`], [`SecretRef`], [`Fetched`]), the interface for a backend's own keys
//! ([`KeyKeeper`]) and the error taxonomy ([`BackendError`]). Never contains an SDK, a runtime or a policy: no vendor type
//! crosses these traits, and no backend sees the daemon or another backend.
//!
//! A backend is a [`Backend`]: a struct of capabilities, in which a missing one is `None`, so that its absence is found at
//! start. Backends do not retry, cache or log values; wrappers in the daemon's `registry` do. `backends/file` is the example to
//! copy, and `backends/conformance` tests every sentence of the contracts here.

#![forbid(unsafe_code)]

mod backend;
mod error;
mod keep;
mod reference;
mod secret;

pub use backend::{
    Algorithm, Backend, Fetched, KeySource, Loaded, PublicKey, Register, Revision, SecretCreator,
    SecretRotator, SecretSource, SecretVersions, Signature, Staged, VersionInfo, VersionState,
};
pub use error::{BackendError, Class, Kind};
pub use keep::{HeapKeeper, KeptKey, KeyKeeper, NotKept};
pub use reference::{
    BackendName, FieldName, InvalidReference, OperationId, SecretName, SecretRef, VersionId,
    VersionSelector,
};
pub use secret::Secret;

/// The largest value that claviger reads or writes, in bytes. It is the limit of AWS Secrets Manager and GCP Secret Manager.
pub const MAX_VALUE_BYTES: usize = 64 * 1024;
