//! Where an issuer's endpoints are, according to its metadata.
//!
//! Owns the metadata of one issuer: requested at both well-known places, and accepted only if it names exactly the configured
//! issuer and acceptable endpoints. If the issuer cannot be reached, its last good endpoints stay in use; likewise if it names
//! others and the configuration demands that an operator accepts them first. Nothing else of the document is kept. How long
//! metadata is kept, and that one request serves all callers, is in `document`.

use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::document::{Change, Document, Kept, Known, Reader};
use crate::failed::Failed;
use crate::{EndpointFlaw, ErrorKind, IssuerSettings, MetadataChange, outcome};
use claviger_oauth_wire::Scopes;
use claviger_oauth_wire::metadata::{self, Metadata};
use claviger_outbound::endpoint::EndpointRules;
use claviger_runtime::reason::{Reasoned as _, printable};
use claviger_runtime::telemetry::{EVENTS, Event};

/// The registered methods of client authentication (RFC 7591 §2, RFC 8705 §2). Others that an issuer names are ignored.
const AUTH_METHODS: [&str; 7] = [
    "none",
    DEFAULT_AUTH_METHOD,
    "client_secret_post",
    "client_secret_jwt",
    "private_key_jwt",
    "tls_client_auth",
    "self_signed_tls_client_auth",
];

/// The method of an issuer that names none (RFC 8414 §2).
const DEFAULT_AUTH_METHOD: &str = "client_secret_basic";

/// What an issuer says about itself, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovered {
    /// Where tokens are.
    pub token: Url,
    /// Where tokens are revoked, if the issuer supports it.
    pub revocation: Option<Url>,
    /// How clients may authenticate, if it says: registered names only.
    pub auth_methods: Option<Vec<&'static str>>,
    /// The scopes that it lists, if it lists any. What is no scope (RFC 6749 §3.3) is ignored.
    pub scopes: Option<Vec<String>>,
}

impl Discovered {
    /// The fields of metadata that differ.
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        let fields = [
            ("token_endpoint", self.token != other.token),
            ("revocation_endpoint", self.revocation != other.revocation),
            (
                "token_endpoint_auth_methods_supported",
                self.auth_methods != other.auth_methods,
            ),
        ];
        let differing = fields.into_iter().filter(|(_, differs)| *differs);
        differing.map(|(field, _)| field).collect()
    }

    /// Whether `next` would send requests elsewhere, or takes a method away.
    fn is_broken_by(&self, next: &Self) -> bool {
        let (before, after) = (self.methods(), next.methods());
        self.token != next.token
            || self.revocation != next.revocation
            || before.iter().any(|method| !after.contains(method))
    }

    fn methods(&self) -> &[&'static str] {
        self.auth_methods
            .as_deref()
            .unwrap_or(&[DEFAULT_AUTH_METHOD])
    }
}

/// The metadata of one issuer.
#[derive(Debug)]
pub(crate) struct Discovery(Kept<IssuerDocument>);

#[derive(Debug)]
struct IssuerDocument {
    name: Arc<str>,
    /// The issuer exactly as configured.
    issuer: String,
    on_change: MetadataChange,
    /// Whether the configuration says where tokens are revoked. Then the metadata is not used for that.
    revocation_given: bool,
    rules: EndpointRules,
    reader: Reader,
}

impl Discovery {
    /// Without any metadata yet.
    pub(crate) fn new(settings: &IssuerSettings, rules: EndpointRules, reader: Reader) -> Self {
        let kept = reader.clone();
        let document = IssuerDocument {
            name: Arc::clone(&settings.name),
            issuer: settings.issuer.clone(),
            on_change: settings.on_metadata_change,
            revocation_given: settings.endpoints.revocation.is_some(),
            rules,
            reader,
        };
        Self(Kept::new(document, &kept))
    }

    /// The metadata to use now; requests it if need be, and waits at most `limit` for that.
    pub(crate) async fn discovered(&self, limit: Duration) -> Result<Arc<Discovered>, Failed> {
        self.0.current(limit).await
    }

    /// The last good metadata; `None` if it was never read. Makes no request.
    pub(crate) fn known(&self) -> Option<Known<Discovered>> {
        self.0.known()
    }

    /// Requests the metadata now and accepts it. Returns whether it differs from before.
    pub(crate) async fn refresh(&self, limit: Duration) -> Result<bool, Failed> {
        self.0.refresh(limit).await
    }
}

impl Document for IssuerDocument {
    type Checked = Discovered;

    /// Requests it at both places in turn. A document that names another issuer ends the attempt: the server is not the issuer.
    async fn fetch(&self) -> Result<Discovered, Failed> {
        let [first, second] = metadata::well_known(&self.issuer);
        let failed = match self.ask_at(&first).await {
            Ok(metadata) => return self.check(&metadata),
            Err(failed) if is_about_the_host(failed.kind) => return Err(failed),
            Err(failed) => failed,
        };
        let second = match self.ask_at(&second).await {
            Ok(metadata) => return self.check(&metadata),
            Err(failed) => failed,
        };
        // Of two failures the transient one is reported. Two missing documents are a mistake in the configuration.
        Err(match (failed.kind, second.kind) {
            (ErrorKind::Refused { status }, ErrorKind::Refused { .. }) => {
                Failed::with(ErrorKind::Metadata, format!("HTTP {status}"))
            }
            (_, ErrorKind::Refused { .. }) => failed,
            (_, _) => second,
        })
    }

    fn changed(&self, old: &Discovered, new: &Discovered) -> Change {
        if old.differences(new).is_empty() {
            // Only the scopes, which nothing depends on.
            return Change::Adopt;
        }
        let hold = self.on_change == MetadataChange::Hold && old.is_broken_by(new);
        tracing::warn!(
            target: EVENTS,
            event_type = Event::IssuerMetadataChanged.name(),
            issuer = %self.name,
            token_endpoint = old.token != new.token,
            revocation_endpoint = old.revocation != new.revocation,
            auth_methods = old.auth_methods != new.auth_methods,
            waits_for_operator = hold,
            "the issuer's metadata has changed"
        );
        if hold { Change::Hold } else { Change::Adopt }
    }

    /// After any failure the last good endpoints stay in use.
    fn failed(&self, failed: &Failed) -> bool {
        tracing::warn!(
            issuer = %self.name,
            reason = failed.kind.as_str(),
            detail = %failed.detail,
            remedy = failed.kind.remedy(),
            "no metadata"
        );
        true
    }
}

impl IssuerDocument {
    async fn ask_at(&self, url: &str) -> Result<Metadata, Failed> {
        let url = self
            .rules
            .configured(url)
            .map_err(|_flaw| ErrorKind::Metadata)?;
        let answer = self.reader.read(&url, metadata::MAX_BODY).await?;
        metadata::parse(&answer.body.0)
            .map_err(|flaw| Failed::with(ErrorKind::Metadata, flaw.to_string()))
    }

    fn check(&self, metadata: &Metadata) -> Result<Discovered, Failed> {
        if !metadata::same_issuer(&self.issuer, &metadata.issuer) {
            let stated = printable(&metadata.issuer);
            let configured = printable(&self.issuer);
            let fact = format!("`issuer` is {configured}, the metadata says {stated}");
            return Err(Failed::with(ErrorKind::IssuerMismatch, fact));
        }
        let token = metadata.token_endpoint.as_deref();
        let revocation = metadata.revocation_endpoint.as_deref();
        let revocation = revocation.filter(|_| !self.revocation_given);
        Ok(Discovered {
            token: self.endpoint("token_endpoint", token.ok_or(ErrorKind::NoTokenEndpoint)?)?,
            revocation: revocation
                .map(|text| self.endpoint("revocation_endpoint", text))
                .transpose()?,
            auth_methods: metadata
                .token_endpoint_auth_methods_supported
                .as_deref()
                .map(known_methods),
            scopes: metadata.scopes_supported.as_ref().map(|scopes| {
                let valid = scopes.iter().filter(|scope| Scopes::new([scope]).is_ok());
                valid.cloned().collect()
            }),
        })
    }

    /// Checks an endpoint that the metadata names in `field`.
    fn endpoint(&self, field: &str, text: &str) -> Result<Url, Failed> {
        self.rules.discovered(text).map_err(|flaw| {
            let kind = match flaw {
                EndpointFlaw::Insecure => ErrorKind::InsecureEndpoint,
                EndpointFlaw::Address => ErrorKind::AddressRefused,
                EndpointFlaw::NotUrl | EndpointFlaw::Extras | EndpointFlaw::NotNormal => {
                    ErrorKind::Metadata
                }
            };
            // User, password and query stay out of it.
            let fact = match Url::parse(text) {
                Ok(url) if matches!(flaw, EndpointFlaw::Insecure | EndpointFlaw::Address) => {
                    let origin = url.origin().ascii_serialization();
                    format!("the metadata's {field} is at {}", printable(&origin))
                }
                Ok(_) | Err(_) => format!("the metadata's {field}: {flaw}"),
            };
            Failed::with(kind, fact)
        })
    }
}

/// The registered ones among them, in the order of [`AUTH_METHODS`].
fn known_methods(stated: &[String]) -> Vec<&'static str> {
    let methods = AUTH_METHODS.into_iter();
    methods
        .filter(|method| stated.iter().any(|one| one == method))
        .collect()
}

/// Failures that another path on the same host would meet as well.
fn is_about_the_host(kind: ErrorKind) -> bool {
    outcome::is_silent(kind)
        || matches!(
            kind,
            ErrorKind::AddressRefused
                | ErrorKind::Untrusted
                | ErrorKind::SelfSigned
                | ErrorKind::CertificateExpired
                | ErrorKind::CertificateNotYetValid
                | ErrorKind::NameMismatch
                | ErrorKind::CertificateInvalid
                | ErrorKind::PinMismatch
                | ErrorKind::RateLimited { .. }
        )
}
