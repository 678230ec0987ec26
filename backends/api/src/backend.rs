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

/// A configured backend: what it can do. An absent capability is `None` and is noticed at start, not at the first use.
#[derive(Clone, Debug)]
pub struct Backend {
    /// Its type, for example `file`.
    pub kind: &'static str,
    /// Reads values. Every backend can.
    pub secrets: Arc<dyn SecretSource>,
    /// Lists versions.
    pub versions: Option<Arc<dyn SecretVersions>>,
    /// Makes secrets that are not there yet.
    pub creator: Option<Arc<dyn SecretCreator>>,
    /// Stages, promotes and retires versions.
    pub rotator: Option<Arc<dyn SecretRotator>>,
    /// Keeps control documents with compare-and-swap.
    pub register: Option<Arc<dyn Register>>,
    /// Signs with keys that never leave the backend.
    pub keys: Option<Arc<dyn KeySource>>,
}

/// A value as a backend gave it.
#[derive(Debug)]
pub struct Fetched {
    /// The whole value, byte for byte as it was stored. Fields are picked by the reader.
    pub value: Secret,
    /// Which version this is. Always exact, also when [`VersionSelector::Current`] was asked for.
    pub version: VersionId,
    /// When this version was made, if the backend says.
    pub created: Option<SystemTime>,
}

/// Reads values.
#[async_trait]
pub trait SecretSource: Debug + Send + Sync {
    /// Reads one version of one secret.
    ///
    /// Values of up to [`MAX_VALUE_BYTES`](crate::MAX_VALUE_BYTES) bytes come back exactly as stored, newlines included.
    /// `Current` is never a version that is only staged.
    ///
    /// # Errors
    /// `NotFound` if there is no such secret or version, `Gone` if it is disabled or destroyed, `Misconfigured` if the
    /// backend cannot have a secret of that name, `Undecryptable` if the stored bytes do not authenticate.
    async fn fetch(
        &self,
        name: &SecretName,
        version: &VersionSelector,
    ) -> Result<Fetched, BackendError>;

    /// Tells whether the backend answers, without reading anything secret.
    ///
    /// # Errors
    /// Whatever keeps it from answering.
    async fn probe(&self) -> Result<(), BackendError>;
}

/// What is known of a version without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionInfo {
    /// Its identifier.
    pub version: VersionId,
    /// When it was made, if the backend says.
    pub created: Option<SystemTime>,
    /// Whether readers see it.
    pub state: VersionState,
    /// The label of the operation that staged it; `None` if it came otherwise. Tells whose it is: nobody destroys what
    /// another made, and what an interrupted operation staged is found by its label.
    pub operation: Option<OperationId>,
}

/// Where a version is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionState {
    /// Readers of `Current` get this one.
    Current,
    /// Written, readable by its identifier, not seen by readers of `Current`.
    Staged,
    /// Was current; still readable by its identifier.
    Previous,
    /// Its value is gone, or reading it is refused.
    Retired,
}

/// Lists versions.
#[async_trait]
pub trait SecretVersions: Debug + Send + Sync {
    /// Every version that the backend still knows, oldest first. Exactly one is `Current` unless the secret is retired.
    ///
    /// # Errors
    /// `NotFound` if there is no such secret.
    async fn versions(&self, name: &SecretName) -> Result<Vec<VersionInfo>, BackendError>;
}

/// Makes secrets that are not there yet.
#[async_trait]
pub trait SecretCreator: Debug + Send + Sync {
    /// Makes a secret whose first version is `value` and is current, and returns that version. Of any number of callers
    /// exactly one succeeds; never touches a secret that is there.
    ///
    /// # Errors
    /// `Conflict` if there is such a secret, `Misconfigured` if the value is empty or larger than the backend takes,
    /// `InDoubt` if the answer was lost.
    async fn create(&self, name: &SecretName, value: Secret) -> Result<VersionId, BackendError>;
}

/// A value to stage.
#[derive(Debug)]
pub struct Staged {
    /// The whole value that readers will see, other fields included.
    pub value: Secret,
    /// The label of the operation. Staging is create-only by it.
    pub operation: OperationId,
}

/// Replaces values in steps that readers never see half done.
///
/// What a call reports as done is durable, also what it found done already: whoever is told that a version is current may
/// destroy the one before it. Every call may also fail with `InDoubt`; the same call again settles it.
#[async_trait]
pub trait SecretRotator: Debug + Send + Sync {
    /// Writes a value where no reader of `Current` finds it, and returns its version.
    ///
    /// Create-only by the operation's label: staging the same label again returns the version that it made before and
    /// changes nothing.
    ///
    /// # Errors
    /// `NotFound` if there is no such secret, `Misconfigured` if the value is larger than the backend takes.
    async fn stage(&self, name: &SecretName, staged: Staged) -> Result<VersionId, BackendError>;

    /// Makes `to` the current version if `from` is the current one now; changes nothing if `to` is current already.
    ///
    /// # Errors
    /// `Conflict` if a third version is current, `NotFound` or `Gone` if `to` cannot be read.
    async fn promote(
        &self,
        name: &SecretName,
        from: &VersionId,
        to: &VersionId,
    ) -> Result<(), BackendError>;

    /// Makes a version unreadable for good. Idempotent.
    ///
    /// # Errors
    /// `Conflict` if it is the current version, `NotFound` if there is no such version.
    async fn retire(&self, name: &SecretName, version: &VersionId) -> Result<(), BackendError>;
}

/// Names one state of a control document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision(Box<str>);

impl Revision {
    /// A revision as the backend writes it.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The backend's own writing of it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A control document as the register has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Which state this is.
    pub revision: Revision,
    /// The document.
    pub document: Vec<u8>,
    /// The register's own clock when it answered, if it has one and says. A node whose clock differs from it by much must not
    /// begin anything.
    pub answered: Option<SystemTime>,
}

/// Keeps one small public document per name, changed by compare-and-swap alone.
///
/// A document never holds a secret, and there need not be a secret of its name. Its size limit is 2 KiB.
#[async_trait]
pub trait Register: Debug + Send + Sync {
    /// The document and its revision, or `None` if there is none yet. What it gives after a swap in doubt is durable: the
    /// doubt is settled by looking.
    ///
    /// # Errors
    /// Never `NotFound`: an absent document is an answer.
    async fn load(&self, name: &SecretName) -> Result<Option<Loaded>, BackendError>;

    /// Writes `document` if the register is still at `expected` (`None`: if there is none yet), and returns the new
    /// revision. Of any number of writers with the same expectation exactly one succeeds.
    ///
    /// # Errors
    /// `Conflict` if somebody else wrote first, `InDoubt` if the answer was lost, `Misconfigured` if the document is too
    /// large.
    async fn swap(
        &self,
        name: &SecretName,
        expected: Option<&Revision>,
        document: &[u8],
    ) -> Result<Revision, BackendError>;
}

/// A signature by a key of the backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The signature in the fixed form that JWS uses.
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
    /// Signs `message` with the current version of the key, using the JWS algorithm `algorithm` (RFC 7518 §3.1).
    ///
    /// # Errors
    /// `NotFound` if there is no such key, `Misconfigured` if the key does not fit the algorithm.
    async fn sign(
        &self,
        key: &SecretName,
        algorithm: &str,
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
