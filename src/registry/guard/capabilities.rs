//! The capabilities of a backend behind its guard.
//!
//! Owns [`Guarded`], which implements every trait of `claviger_backend`: one line per method, as a call that
//! reads (and may be repeated) or writes. A signature changes nothing, so it counts as a read.

use std::sync::Arc;

use async_trait::async_trait;
use claviger_backend::{
    Algorithm, Backend, BackendError, Fetched, KeySource, Loaded, PublicKey, Register, Revision,
    Secret, SecretCreator, SecretName, SecretRotator, SecretSource, SecretVersions, Signature,
    Staged, VersionId, VersionInfo, VersionSelector,
};

use crate::registry::guard::Guard;

/// The same backend behind `guard`.
pub(in crate::registry) fn guarded(backend: Backend, guard: &Arc<Guard>) -> Backend {
    let Backend {
        kind,
        secrets,
        versions,
        creator,
        rotator,
        register,
        keys,
    } = backend;
    Backend {
        kind,
        secrets: Arc::new(Guarded::new(guard, secrets)),
        versions: versions.map(|inner| Arc::new(Guarded::new(guard, inner)) as _),
        creator: creator.map(|inner| Arc::new(Guarded::new(guard, inner)) as _),
        rotator: rotator.map(|inner| Arc::new(Guarded::new(guard, inner)) as _),
        register: register.map(|inner| Arc::new(Guarded::new(guard, inner)) as _),
        keys: keys.map(|inner| Arc::new(Guarded::new(guard, inner)) as _),
    }
}

/// One capability behind the guard of its backend.
#[derive(Debug)]
struct Guarded<C: ?Sized> {
    guard: Arc<Guard>,
    inner: Arc<C>,
}

impl<C: ?Sized> Guarded<C> {
    fn new(guard: &Arc<Guard>, inner: Arc<C>) -> Self {
        Self {
            guard: Arc::clone(guard),
            inner,
        }
    }
}

#[async_trait]
impl SecretSource for Guarded<dyn SecretSource> {
    async fn fetch(
        &self,
        name: &SecretName,
        version: &VersionSelector,
    ) -> Result<Fetched, BackendError> {
        let send = || self.inner.fetch(name, version);
        self.guard.read("fetch", send).await
    }

    async fn probe(&self) -> Result<(), BackendError> {
        self.guard.read("probe", || self.inner.probe()).await
    }
}

#[async_trait]
impl SecretVersions for Guarded<dyn SecretVersions> {
    async fn versions(&self, name: &SecretName) -> Result<Vec<VersionInfo>, BackendError> {
        let send = || self.inner.versions(name);
        self.guard.read("versions", send).await
    }
}

#[async_trait]
impl SecretCreator for Guarded<dyn SecretCreator> {
    async fn create(&self, name: &SecretName, value: Secret) -> Result<VersionId, BackendError> {
        let write = self.inner.create(name, value);
        self.guard.write("create", write).await
    }
}

#[async_trait]
impl SecretRotator for Guarded<dyn SecretRotator> {
    async fn stage(&self, name: &SecretName, staged: Staged) -> Result<VersionId, BackendError> {
        let write = self.inner.stage(name, staged);
        self.guard.write("stage", write).await
    }

    async fn promote(
        &self,
        name: &SecretName,
        from: &VersionId,
        to: &VersionId,
    ) -> Result<(), BackendError> {
        let write = self.inner.promote(name, from, to);
        self.guard.write("promote", write).await
    }

    async fn retire(&self, name: &SecretName, version: &VersionId) -> Result<(), BackendError> {
        let write = self.inner.retire(name, version);
        self.guard.write("retire", write).await
    }
}

#[async_trait]
impl Register for Guarded<dyn Register> {
    async fn load(&self, name: &SecretName) -> Result<Option<Loaded>, BackendError> {
        self.guard.read("load", || self.inner.load(name)).await
    }

    async fn swap(
        &self,
        name: &SecretName,
        expected: Option<&Revision>,
        document: &[u8],
    ) -> Result<Revision, BackendError> {
        let write = self.inner.swap(name, expected, document);
        self.guard.write("swap", write).await
    }
}

#[async_trait]
impl KeySource for Guarded<dyn KeySource> {
    async fn sign(
        &self,
        key: &SecretName,
        algorithm: Algorithm,
        message: &[u8],
    ) -> Result<Signature, BackendError> {
        let send = || self.inner.sign(key, algorithm, message);
        self.guard.read("sign", send).await
    }

    async fn public_key(
        &self,
        key: &SecretName,
        version: &VersionSelector,
    ) -> Result<PublicKey, BackendError> {
        let send = || self.inner.public_key(key, version);
        self.guard.read("public_key", send).await
    }
}
