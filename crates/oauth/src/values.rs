//! One version of a client's identifier and secret.
//!
//! Owns [`Values`], and with it the only place where a client's secret is exposed. A proof copies them into buffers that are
//! zeroed on drop.

use std::sync::Arc;

use zeroize::Zeroizing;

use claviger_core::secrets::Version;
use claviger_oauth_wire::request::Form;
use claviger_oauth_wire::{BasicEncoding, basic};

/// A client identifier: from the configuration, or from a backend.
#[derive(Debug)]
pub(crate) enum Identifier<T> {
    Literal(Arc<str>),
    Referred(T),
}

/// One version of identifier and secret.
#[derive(Debug)]
pub(crate) struct Values {
    pub(crate) id: Identifier<Arc<Version>>,
    pub(crate) secret: Arc<Version>,
}

impl Values {
    /// The client identifier.
    pub(crate) fn id(&self) -> &[u8] {
        match &self.id {
            Identifier::Literal(id) => id.as_bytes(),
            Identifier::Referred(version) => plaintext(version),
        }
    }

    /// The client secret in every encoding in which a request may have it, to be cut out of texts.
    pub(crate) fn sent(&self) -> Vec<Zeroizing<Vec<u8>>> {
        let secret = self.secret();
        let mut form = Form::empty();
        form.push("", secret);
        let basic = [BasicEncoding::Rfc6749, BasicEncoding::Raw]
            .map(|encoding| basic::authorization(self.id(), secret, encoding));
        let mut sent = vec![Zeroizing::new(secret.to_vec()), form.into_bytes()];
        sent.extend(basic);
        sent
    }

    /// The client secret. It must be copied into buffers that are zeroed only.
    pub(crate) fn secret(&self) -> &[u8] {
        plaintext(&self.secret)
    }
}

fn plaintext(version: &Version) -> &[u8] {
    #[expect(
        clippy::disallowed_methods,
        reason = "a client proves itself with its secret, and the buffers it is copied to zero themselves"
    )]
    version.value.expose()
}
