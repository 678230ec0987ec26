//! A client's identifier and secret, on their way into one request.
//!
//! Owns the only place where a client's secret leaves its box. The values live in `secrets`, which replaces them as the
//! backend does; every request uses the newest ones, and proves itself by exactly one mechanism (RFC 6749 §2.3).

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use claviger_backend::SecretRef;
use url::Url;
use zeroize::Zeroizing;

use crate::{AuthMethod, ClientId, ClientSettings, ErrorKind};
use claviger_core::secrets::{Live, Missing, Version};
use claviger_oauth_wire::basic;
use claviger_oauth_wire::request::Form;
use claviger_oauth_wire::response;
use claviger_outbound::http::Request;
use claviger_outbound::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use claviger_runtime::clock::Moment;

/// Handles on what a client proves itself with.
#[derive(Clone, Debug)]
pub struct Credential {
    id: Identifier,
    secret: Live,
    method: AuthMethod,
}

#[derive(Clone, Debug)]
enum Identifier {
    Literal(Arc<str>),
    Live(Live),
}

/// A request that proves itself.
#[derive(Debug)]
pub(super) struct Proved {
    /// The value of `Authorization`, if the proof is there.
    pub(super) authorization: Option<Authorization>,
    /// The form, with the proof in it if it is there.
    pub(super) form: Form,
}

impl Proved {
    /// The POST of the form to `url`.
    pub(super) fn request(self, url: Url) -> Request {
        let request = Request::post(url, self.form.into_bytes(), response::MAX_BODY)
            .with_text(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .with_text(ACCEPT, "application/json");
        match self.authorization {
            Some(value) => request.with(AUTHORIZATION, value.0),
            None => request,
        }
    }
}

/// A header value that wipes itself.
pub(super) struct Authorization(pub(super) Zeroizing<Vec<u8>>);

/// Prints nothing of it.
impl std::fmt::Debug for Authorization {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authorization")
    }
}

impl Credential {
    /// The credential that `settings` describes; `live` gives the handle on a reference of theirs.
    pub fn new(settings: &ClientSettings, live: impl Fn(&SecretRef) -> Live) -> Self {
        let id = match &settings.id {
            ClientId::Literal(id) => Identifier::Literal(id.as_str().into()),
            ClientId::Reference(reference) => Identifier::Live(live(reference)),
        };
        Self {
            id,
            secret: live(settings.auth.secret()),
            method: settings.auth.clone(),
        }
    }

    /// A number that stands for the versions that are held: the same as long as those are, also for another configuration's
    /// handles on them. `None` if one of them is missing.
    pub(super) fn version(&self, now: Moment) -> Option<u64> {
        // Unkeyed on purpose: the number must be the same after a reload. It is no secret, and nobody chooses its input.
        let mut hasher = DefaultHasher::new();
        let mut held = |live: &Live| {
            let version = live.current(now).ok()?;
            // With the generation: another store may have another value under the same version.
            (live.reference(), &version.id, version.generation).hash(&mut hasher);
            Some(())
        };
        held(&self.secret)?;
        match &self.id {
            Identifier::Literal(id) => id.hash(&mut hasher),
            Identifier::Live(live) => held(live)?,
        }
        Some(hasher.finish())
    }

    /// Whether a request could prove itself now.
    ///
    /// # Errors
    /// `NoCredential` if one of the values is not held.
    pub(super) fn check(&self, now: Moment) -> Result<(), ErrorKind> {
        if let Identifier::Live(live) = &self.id {
            live.current(now).map_err(missing)?;
        }
        self.secret.current(now).map(drop).map_err(missing)
    }

    /// Adds the proof to a request.
    ///
    /// # Errors
    /// `NoCredential` if one of the values is not held.
    pub(super) fn prove(&self, mut form: Form, now: Moment) -> Result<Proved, ErrorKind> {
        let id = match &self.id {
            Identifier::Literal(_) => None,
            Identifier::Live(live) => Some(live.current(now).map_err(missing)?),
        };
        let id = match (&self.id, &id) {
            (_, Some(version)) => plaintext(version),
            (Identifier::Literal(id), None) => id.as_bytes(),
            (Identifier::Live(_), None) => &[],
        };
        let secret = self.secret.current(now).map_err(missing)?;
        match &self.method {
            AuthMethod::Basic { encoding, .. } => Ok(Proved {
                authorization: Some(Authorization(basic::authorization(
                    id,
                    plaintext(&secret),
                    *encoding,
                ))),
                form,
            }),
            AuthMethod::Post { .. } => {
                form.push("client_id", id);
                form.push("client_secret", plaintext(&secret));
                Ok(Proved {
                    authorization: None,
                    form,
                })
            }
        }
    }

    /// The method as metadata calls it.
    pub(super) fn method(&self) -> &'static str {
        match &self.method {
            AuthMethod::Basic { .. } => "client_secret_basic",
            AuthMethod::Post { .. } => "client_secret_post",
        }
    }
}

fn missing(missing: Missing) -> ErrorKind {
    ErrorKind::NoCredential {
        retry_after: missing.retry_in,
    }
}

fn plaintext(version: &Version) -> &[u8] {
    #[expect(
        clippy::disallowed_methods,
        reason = "a client proves itself with its secret, and the buffers it is copied to wipe themselves"
    )]
    version.value.expose()
}
