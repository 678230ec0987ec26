//! Where an issuer's endpoints are, by its own word.
//!
//! Owns the metadata of one issuer: asked for at both well-known places, and believed only if it names exactly the configured
//! issuer and acceptable endpoints. An issuer that cannot be asked keeps its old endpoints. How long metadata is kept, and that
//! one request serves all who ask, is in `document`.

use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::clock::Moment;
use crate::oauth::ErrorKind;
use crate::oauth::document::{Document, Kept, Reader};
use crate::oauth::endpoint::EndpointRules;
use crate::oauth::outcome::EVENTS;
use crate::oauth::wire::metadata::{self, Metadata};

/// What an issuer says about itself, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Discovered {
    /// Where tokens are.
    pub(crate) token: Url,
    /// Where tokens are revoked.
    pub(crate) revocation: Option<Url>,
    /// How clients may prove themselves, if it says.
    pub(crate) auth_methods: Option<Vec<String>>,
}

/// The metadata of one issuer.
#[derive(Debug)]
pub(crate) struct Discovery(Kept<IssuerDocument>);

#[derive(Debug)]
struct IssuerDocument {
    name: Arc<str>,
    /// The issuer exactly as configured.
    issuer: String,
    rules: EndpointRules,
    reader: Reader,
}

impl Discovery {
    /// Knows nothing yet. `issuer` is the identifier exactly as configured.
    pub(crate) fn new(
        name: Arc<str>,
        issuer: String,
        rules: EndpointRules,
        reader: Reader,
    ) -> Self {
        let kept = reader.clone();
        let document = IssuerDocument {
            name,
            issuer,
            rules,
            reader,
        };
        Self(Kept::new(document, &kept))
    }

    /// The metadata to use now; asks the issuer if need be, and waits at most `limit` for that.
    pub(crate) async fn discovered(&self, limit: Duration) -> Result<Arc<Discovered>, ErrorKind> {
        self.0.current(limit).await
    }

    /// When the metadata in use was read; `None` if there is none.
    pub(crate) fn since(&self) -> Option<Moment> {
        self.0.since()
    }
}

impl Document for IssuerDocument {
    type Checked = Discovered;

    /// Asks at both places in turn. A document that names another issuer ends it: somebody answers here who should not.
    async fn ask(&self) -> Result<Discovered, ErrorKind> {
        let [first, second] = metadata::well_known(&self.issuer);
        let kind = match self.ask_at(&first).await {
            Ok(metadata) => return self.check(&metadata),
            Err(kind) if is_about_the_host(kind) => return Err(kind),
            Err(kind) => kind,
        };
        let second = match self.ask_at(&second).await {
            Ok(metadata) => return self.check(&metadata),
            Err(kind) => kind,
        };
        // Of two failures the one that may heal says more. That both documents are missing is a matter of configuration.
        Err(match (kind, second) {
            (ErrorKind::Refused { .. }, ErrorKind::Refused { .. }) => ErrorKind::Metadata,
            (first, ErrorKind::Refused { .. }) => first,
            (_, second) => second,
        })
    }

    fn changed(&self, old: &Discovered, new: &Discovered) {
        tracing::warn!(
            target: EVENTS,
            event_type = "issuer_metadata_changed",
            issuer = %self.name,
            token_endpoint = old.token != new.token,
            revocation_endpoint = old.revocation != new.revocation,
            auth_methods = old.auth_methods != new.auth_methods,
            "the issuer's metadata has changed"
        );
    }

    /// Whatever goes wrong, the endpoints that were good are better than none.
    fn failed(&self, kind: ErrorKind) -> bool {
        tracing::warn!(issuer = %self.name, reason = kind.as_str(), "no metadata");
        true
    }
}

impl IssuerDocument {
    async fn ask_at(&self, url: &str) -> Result<Metadata, ErrorKind> {
        let url = self
            .rules
            .configured(url)
            .map_err(|_flaw| ErrorKind::Metadata)?;
        let answer = self.reader.read(&url, metadata::MAX_BODY).await?;
        metadata::parse(&answer.body.0).map_err(|flaw| {
            tracing::debug!(issuer = %self.name, bytes = answer.body.0.len(), %flaw, "metadata");
            ErrorKind::Metadata
        })
    }

    fn check(&self, metadata: &Metadata) -> Result<Discovered, ErrorKind> {
        if !metadata::same_issuer(&self.issuer, &metadata.issuer) {
            tracing::warn!(issuer = %self.name, "the metadata names another issuer");
            return Err(ErrorKind::Metadata);
        }
        let acceptable = |what: &'static str, text: &str| {
            self.rules.discovered(text).map_err(|flaw| {
                tracing::warn!(issuer = %self.name, endpoint = what, %flaw, "endpoint refused");
                ErrorKind::Metadata
            })
        };
        let token = metadata.token_endpoint.as_deref();
        let revocation = metadata.revocation_endpoint.as_deref();
        Ok(Discovered {
            token: acceptable("token", token.ok_or(ErrorKind::Metadata)?)?,
            revocation: revocation
                .map(|text| acceptable("revocation", text))
                .transpose()?,
            auth_methods: metadata.token_endpoint_auth_methods_supported.clone(),
        })
    }
}

/// Failures that another path on the same host would meet as well.
fn is_about_the_host(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Timeout
            | ErrorKind::Unreachable
            | ErrorKind::AddressRefused
            | ErrorKind::Untrusted
            | ErrorKind::PinMismatch
            | ErrorKind::RateLimited { .. }
    )
}
