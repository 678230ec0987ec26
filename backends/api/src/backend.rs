//! The capabilities of a backend.
//!
//! Owns the traits and the values that cross them. Every method may wait for a network; none may block its thread. The doc
//! comments are the contract: `backends/conformance` tests each sentence. Cancelling a read (dropping its future) has no
//! effect on the backend; a write that is cancelled is [`Kind::InDoubt`](crate::Kind::InDoubt) to its caller.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;

use crate::{BackendError, OperationId, Secret, SecretName, VersionId, VersionSelector};

/// A configured backend: what it can do. A missing capability is `None`, so its absence is found at start and not at first use.
#[derive(Clone, Debug)]
pub struct Backend {
    /// Its type, for example `file`.
    pub kind: &'static str,
    /// Reads values. Every backend has this capability.
    pub secrets: Arc<dyn SecretSource>,
    /// Lists versions.
    pub versions: Option<Arc<dyn SecretVersions>>,
    /// Creates secrets.
    pub creator: Option<Arc<dyn SecretCreator>>,
    /// Stages, promotes and retires versions.
    pub rotator: Option<Arc<dyn SecretRotator>>,
    /// Keeps control documents with compare-and-swap.
    pub register: Option<Arc<dyn Register>>,
    /// Signs with keys that never leave the backend.
    pub keys: Option<Arc<dyn KeySource>>,
}

/// A value as the backend returned it.
#[derive(Debug)]
pub struct Fetched {
    /// The whole value, byte for byte as stored. The reader extracts fields.
    pub value: Secret,
    /// Which version this is. Always exact, even for a request for [`VersionSelector::Current`].
    pub version: VersionId,
    /// When this version was created, if the backend reports it.
    pub created: Option<SystemTime>,
}

/// Reads values.
#[async_trait]
pub trait SecretSource: Debug + Send + Sync {
    /// Reads one version of one secret.
    ///
    /// Values of up to [`MAX_VALUE_BYTES`](crate::MAX_VALUE_BYTES) bytes are returned exactly as stored, newlines included.
    /// `Current` never selects a staged version.
    ///
    /// # Errors
    /// `NotFound` if there is no such secret or version, `Gone` if it is disabled or destroyed, `Misconfigured` if the backend
    /// does not support a secret of that name, `Undecryptable` if the stored bytes do not authenticate.
    async fn fetch(
        &self,
        name: &SecretName,
        version: &VersionSelector,
    ) -> Result<Fetched, BackendError>;

    /// Checks that the backend responds, without reading a secret.
    ///
    /// # Errors
    /// Any failure that prevents a response.
    async fn probe(&self) -> Result<(), BackendError>;
}

/// The metadata of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionInfo {
    /// Its identifier.
    pub version: VersionId,
    /// When it was created, if the backend reports it.
    pub created: Option<SystemTime>,
    /// Whether readers see it.
    pub state: VersionState,
    /// The label of the operation that staged it; `None` if it was created another way. Identifies the owner: an operation
    /// destroys only the versions that it staged, and finds them by its label after an interruption.
    pub operation: Option<OperationId>,
}

/// The state of a version in its life cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionState {
    /// Readers of `Current` get this one.
    Current,
    /// Written and readable by its identifier, but not visible to readers of `Current`.
    Staged,
    /// Was current; still readable by its identifier.
    Previous,
    /// Its value is destroyed, or the backend refuses to read it.
    Retired,
}

/// Lists versions.
#[async_trait]
pub trait SecretVersions: Debug + Send + Sync {
    /// Every version that the backend still has, oldest first. Exactly one is `Current` unless the secret is retired.
    ///
    /// # Errors
    /// `NotFound` if there is no such secret.
    async fn versions(&self, name: &SecretName) -> Result<Vec<VersionInfo>, BackendError>;
}

/// Creates secrets.
#[async_trait]
pub trait SecretCreator: Debug + Send + Sync {
    /// Creates a secret with `value` as its first and current version, and returns that version. If several callers race,
    /// exactly one succeeds. Never modifies an existing secret.
    ///
    /// # Errors
    /// `Conflict` if the secret exists, `Misconfigured` if the value is empty or larger than the backend accepts, `InDoubt` if
    /// the response was lost.
    async fn create(&self, name: &SecretName, value: Secret) -> Result<VersionId, BackendError>;
}

/// A value to stage.
#[derive(Debug)]
pub struct Staged {
    /// The whole value that readers get once it is promoted, all fields included.
    pub value: Secret,
    /// The label of the operation. Staging the same label twice creates one version.
    pub operation: OperationId,
}

/// Replaces values in steps, each of which is atomic for readers.
///
/// When a call returns success, the change is durable, even if an earlier call made it: the caller may then destroy the
/// previous version. Every call may also fail with `InDoubt`; repeating the call resolves the doubt.
#[async_trait]
pub trait SecretRotator: Debug + Send + Sync {
    /// Writes a value that is not visible to readers of `Current`, and returns its version.
    ///
    /// Idempotent by the operation's label: staging the same label again returns the version created before and changes
    /// nothing.
    ///
    /// # Errors
    /// `NotFound` if there is no such secret, `Misconfigured` if the value is empty or larger than the backend accepts.
    async fn stage(&self, name: &SecretName, staged: Staged) -> Result<VersionId, BackendError>;

    /// Makes `to` the current version if `from` is current; changes nothing if `to` is already current.
    ///
    /// # Errors
    /// `Conflict` if a third version is current, `NotFound` or `Gone` if `to` cannot be read.
    async fn promote(
        &self,
        name: &SecretName,
        from: &VersionId,
        to: &VersionId,
    ) -> Result<(), BackendError>;

    /// Makes a version permanently unreadable. Idempotent.
    ///
    /// # Errors
    /// `Conflict` if it is the current version, `NotFound` if there is no such version.
    async fn retire(&self, name: &SecretName, version: &VersionId) -> Result<(), BackendError>;
}

/// Identifies one state of a control document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision(Box<str>);

impl Revision {
    /// A revision in the backend's own format.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The revision in the backend's own format.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A control document read from the register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The state of the document that was read.
    pub revision: Revision,
    /// The document.
    pub document: Vec<u8>,
    /// The register's clock when it responded, if it reports one. A node whose clock differs from it by much must not start an
    /// operation.
    pub answered: Option<SystemTime>,
}

/// Stores one small public document per name, changed only by compare-and-swap.
///
/// A document never contains a secret, and a secret of that name need not exist. The size limit is 2 KiB.
#[async_trait]
pub trait Register: Debug + Send + Sync {
    /// The document and its revision, or `None` if there is none yet. The document returned after a swap that failed with
    /// `InDoubt` is durable, so loading it resolves the doubt.
    ///
    /// # Errors
    /// Never `NotFound`: a missing document is `None`.
    async fn load(&self, name: &SecretName) -> Result<Option<Loaded>, BackendError>;

    /// Writes `document` if the register is still at `expected` (`None`: if there is no document yet), and returns the new
    /// revision. Of several writers that pass the same `expected`, exactly one succeeds.
    ///
    /// # Errors
    /// `Conflict` if another writer was first, `InDoubt` if the response was lost, `Misconfigured` if the document is too
    /// large.
    async fn swap(
        &self,
        name: &SecretName,
        expected: Option<&Revision>,
        document: &[u8],
    ) -> Result<Revision, BackendError>;
}

/// A signature algorithm of JWS (RFC 7518 §3.1, RFC 8037 §3.1). Symmetric ones are missing: their key would be shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
}

/// A signature by a key of the backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The signature in the fixed-length encoding that JWS uses.
    pub bytes: Vec<u8>,
    /// Which version of the key made it.
    pub version: VersionId,
}

/// The public half of a key of the backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// DER of a `SubjectPublicKeyInfo` (RFC 5280 §4.1.2.7).
    pub spki: Vec<u8>,
    /// Which version of the key it belongs to.
    pub version: VersionId,
}

/// Signs with keys that never leave the backend.
#[async_trait]
pub trait KeySource: Debug + Send + Sync {
    /// Signs `message` with the current version of the key, using `algorithm`.
    ///
    /// # Errors
    /// `NotFound` if there is no such key, `Misconfigured` if the key does not support the algorithm.
    async fn sign(
        &self,
        key: &SecretName,
        algorithm: Algorithm,
        message: &[u8],
    ) -> Result<Signature, BackendError>;

    /// The public half of one version of the key.
    ///
    /// # Errors
    /// As [`KeySource::sign`].
    async fn public_key(
        &self,
        key: &SecretName,
        version: &VersionSelector,
    ) -> Result<PublicKey, BackendError>;
}
