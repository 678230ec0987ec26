//! One issuer, shared by all its clients.
//!
//! Owns what they share: the transports, the endpoints, the number of requests under way, the breaker, the limits per client,
//! and the record of the issuer's health and clock. Never sees a credential. A reload with changed settings makes a new one;
//! requests under way finish on the old one. Next: `circuit`, `discovery`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use url::Url;

use crate::circuit::{Admission, Circuit};
use crate::discovery::Discovery;
use crate::document::Reader;
use crate::failed::Failed;
use crate::limiter::Limiter;
use crate::resource::{Resource, Resources};
use crate::{Error, ErrorKind, IssuerMetadata, IssuerSettings};
use claviger_core::tokens::source::Urgency;
use claviger_oauth_wire::header;
use claviger_outbound::Transports;
use claviger_outbound::endpoint::{EndpointFlaw, EndpointRules};
use claviger_outbound::http::header::DATE;
use claviger_outbound::http::{Answer, Transport};
use claviger_runtime::clock::{Clock, Moment};
use claviger_runtime::reason::{Detail, Reason, Reasoned};
use claviger_runtime::telemetry::{EVENTS, Event};

/// The most requests under way at one issuer. An issuer that hangs delays its own clients only.
const CONCURRENT: usize = 8;

/// Clocks that differ by more are reported.
const SKEW: Duration = Duration::from_mins(1);

/// An issuer that can be asked.
#[derive(Debug)]
pub struct Issuer {
    settings: IssuerSettings,
    pub(super) clock: Arc<dyn Clock>,
    transports: Transports,
    circuit: Circuit,
    pub(super) endpoints: Known,
    pub(super) resources: Resources,
    pub(super) slots: Semaphore,
    /// Shared by all tokens of a client; bounded by the configuration.
    limiters: Mutex<HashMap<Arc<str>, Arc<Limiter>>>,
    /// The last lifetime that it reported, by name of token; bounded by the configuration.
    lifetimes: Mutex<HashMap<Arc<str>, Duration>>,
    health: Mutex<Health>,
}

/// Where the endpoints come from: all of them from the configuration, or the rest by discovery.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) token: Option<Url>,
    pub(super) revocation: Option<Url>,
    pub(super) discovery: Option<Discovery>,
}

#[derive(Debug, Default)]
struct Health {
    last_success: Option<Moment>,
    last_error: Option<LastError>,
    /// The issuer's clock minus ours, in seconds.
    clock_skew: Option<i64>,
}

/// The state of an issuer, for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerStatus {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Its identifier.
    pub issuer: String,
    /// Its endpoints; `None` before its metadata was read.
    pub metadata: Option<IssuerMetadata>,
    /// When it last issued a token.
    pub last_success: Option<Moment>,
    /// The last failure.
    pub last_error: Option<LastError>,
    /// Its clock minus this node's in seconds, by its last answer.
    pub clock_skew: Option<i64>,
}

/// The last failed request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastError {
    /// What went wrong.
    pub kind: ErrorKind,
    /// What it said beyond that.
    pub detail: Detail,
    /// When.
    pub at: Moment,
}

impl Reasoned for LastError {
    fn reason(&self) -> Reason {
        self.kind.reason()
    }

    fn detail(&self) -> Detail {
        self.kind.detail_with(&self.detail)
    }
}

/// Why an issuer cannot be set up. The configuration is at fault, or files of this node.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The issuer identifier is not acceptable.
    #[error("`issuer` is not acceptable: {0}")]
    Issuer(EndpointFlaw),
    /// An endpoint given in the configuration is not acceptable.
    #[error("the {name} endpoint is not acceptable: {flaw}")]
    Endpoint {
        /// Which.
        name: &'static str,
        /// Why.
        flaw: EndpointFlaw,
    },
    /// Its connections cannot be set up.
    #[error(transparent)]
    Outbound(#[from] claviger_outbound::SetupError),
}

impl Issuer {
    /// Sets up an issuer: checks its endpoints and reads its trust roots. Sends nothing.
    ///
    /// # Errors
    /// A [`SetupError`] that says what to change.
    pub fn new(settings: IssuerSettings, clock: Arc<dyn Clock>) -> Result<Self, SetupError> {
        let rules = EndpointRules::new(
            &settings.issuer,
            &settings.outbound.dns.allow,
            settings.outbound.allow_loopback_http,
        )
        .map_err(SetupError::Issuer)?;
        let transports = Transports::open(&settings.outbound, &rules)?;
        Self::over(settings, rules, transports, clock)
    }

    /// Whether it has the same settings as `other` and trusts the same certificates. What it has learned since may differ.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        self.settings == other.settings && self.transports.trust_as(&other.transports)
    }

    /// Sets up an issuer over transports.
    ///
    /// # Errors
    /// If an endpoint in the settings is not acceptable.
    pub(super) fn over(
        settings: IssuerSettings,
        rules: EndpointRules,
        transports: Transports,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SetupError> {
        let given = |name: &'static str, text: &Option<String>| {
            text.as_deref()
                .map(|text| rules.configured(text))
                .transpose()
                .map_err(|flaw| SetupError::Endpoint { name, flaw })
        };
        let token = given("token", &settings.endpoints.token)?;
        let revocation = given("revocation", &settings.endpoints.revocation)?;
        let reader = |transport: &Arc<dyn Transport>| Reader {
            transport: Arc::clone(transport),
            clock: Arc::clone(&clock),
            timeout: settings.outbound.timeout,
        };
        let discovery = token
            .is_none()
            .then(|| Discovery::new(&settings, rules.clone(), reader(&transports.to_issuer)));
        let resources = Resources::new(
            Arc::clone(&settings.name),
            settings.issuer.clone(),
            rules,
            reader(&transports.to_resources),
        );
        Ok(Self {
            circuit: Circuit::new(settings.outbound.timeout, Arc::clone(&clock)),
            settings,
            clock,
            transports,
            endpoints: Known {
                token,
                revocation,
                discovery,
            },
            resources,
            slots: Semaphore::new(CONCURRENT),
            limiters: Mutex::default(),
            lifetimes: Mutex::default(),
            health: Mutex::default(),
        })
    }

    /// Its settings.
    #[must_use]
    pub fn settings(&self) -> &IssuerSettings {
        &self.settings
    }

    /// Its name in the configuration.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.settings.name
    }

    /// Its state. Sends no request.
    #[must_use]
    pub fn status(&self) -> IssuerStatus {
        let metadata = self.metadata();
        let health = self.health();
        IssuerStatus {
            name: Arc::clone(&self.settings.name),
            issuer: self.settings.issuer.clone(),
            metadata,
            last_success: health.last_success,
            last_error: health.last_error.clone(),
            clock_skew: health.clock_skew,
        }
    }

    /// Reads the metadata, unless the endpoints are known. Sends no token request.
    ///
    /// # Errors
    /// If the metadata cannot be read or is not acceptable.
    pub async fn discover(&self) -> Result<(), Error> {
        let known = self.token_endpoint(self.settings.outbound.timeout).await;
        known.map(|_| ()).map_err(|failed| self.error(&failed))
    }

    /// Checks that a resource names this issuer in its metadata (RFC 9728). Sends no token request.
    ///
    /// # Errors
    /// [`ErrorKind::ResourceMismatch`] if it does not, or has no metadata; else why the metadata could not be read.
    pub async fn verify_resource(&self, resource: &str) -> Result<(), Error> {
        let resource = self.resource(resource);
        let vouched = resource.vouched(self.settings.outbound.timeout).await;
        vouched.map(|_| ()).map_err(|failed| self.error(&failed))
    }

    /// A failure at this issuer that no credential is involved in.
    pub(super) fn error(&self, failed: &Failed) -> Error {
        Error {
            kind: failed.kind,
            issuer: Arc::clone(&self.settings.name),
            verdict: failed.kind.verdict(),
            credential: 0,
            detail: failed.detail.clone(),
        }
    }

    /// The transport to the issuer itself.
    pub(super) fn transport(&self) -> &dyn Transport {
        &*self.transports.to_issuer
    }

    /// Admits a token request, unless the issuer does not respond and it is not time for a probe. An operator's request is
    /// always admitted.
    ///
    /// # Errors
    /// The last failure, with the time until a request may be admitted.
    pub(super) fn admit(&self, urgency: Urgency) -> Result<Admission<'_>, Failed> {
        self.circuit.admit(urgency)
    }

    /// A resource that tokens of this issuer are for.
    pub(super) fn resource(&self, resource: &str) -> Arc<Resource> {
        self.resources.get(resource)
    }

    /// The token endpoint, and the authentication methods that the issuer advertises.
    pub(super) async fn token_endpoint(
        &self,
        limit: Duration,
    ) -> Result<(Url, Option<Vec<&'static str>>), Failed> {
        match (&self.endpoints.token, &self.endpoints.discovery) {
            (Some(url), _) => Ok((url.clone(), None)),
            (None, Some(discovery)) => {
                let discovered = discovery.discovered(limit).await?;
                Ok((discovered.token.clone(), discovered.auth_methods.clone()))
            }
            (None, None) => Err(ErrorKind::Metadata.into()),
        }
    }

    /// The revocation endpoint; `None` if the issuer has none.
    pub(super) async fn revocation_endpoint(&self, limit: Duration) -> Result<Option<Url>, Failed> {
        match (&self.endpoints.revocation, &self.endpoints.discovery) {
            (Some(url), _) => Ok(Some(url.clone())),
            (None, Some(discovery)) => Ok(discovery.discovered(limit).await?.revocation.clone()),
            (None, None) => Ok(None),
        }
    }

    /// The limit of a client, which all its tokens share.
    pub(super) fn limiter(&self, client: &Arc<str>) -> Arc<Limiter> {
        let mut limiters = self.limiters.lock().unwrap_or_else(PoisonError::into_inner);
        let limiter = limiters
            .entry(Arc::clone(client))
            .or_insert_with(|| Arc::new(Limiter::per_minute(self.settings.requests_per_minute)));
        Arc::clone(limiter)
    }

    /// The lifetime of a token whose answer reports `reported`; `None` if none was ever reported. The last one is remembered for
    /// answers that report none: some issuers send it with the first token only.
    pub(super) fn lifetime(
        &self,
        token: &Arc<str>,
        reported: Option<Duration>,
    ) -> Option<Duration> {
        let lifetimes = self.lifetimes.lock();
        let mut lifetimes = lifetimes.unwrap_or_else(PoisonError::into_inner);
        match reported {
            None => lifetimes.get(token).copied(),
            Some(lifetime) => {
                lifetimes.insert(Arc::clone(token), lifetime);
                Some(lifetime)
            }
        }
    }

    /// Notes how a request for a token ended.
    pub(super) fn note_outcome(&self, outcome: Result<(), &Failed>) {
        let now = self.clock.now();
        let mut health = self.health();
        match outcome {
            Ok(()) => health.last_success = Some(now),
            // A missing credential is the backend's failure, not the issuer's.
            Err(failed) if matches!(failed.kind, ErrorKind::NoCredential { .. }) => {}
            Err(failed) => {
                health.last_error = Some(LastError {
                    kind: failed.kind,
                    detail: failed.detail.clone(),
                    at: now,
                });
            }
        }
    }

    /// Compares the issuer's clock with ours by the `Date` of an answer to a request sent at `sent`.
    pub(super) fn note_date(&self, answer: &Answer, sent: Moment) {
        let Some(theirs) = answer.header(&DATE).and_then(header::date) else {
            return;
        };
        let now = self.clock.now();
        // The answer was written somewhere between the two moments.
        let ours = now.wall.saturating_sub(now.since(sent) / 2);
        let skew = theirs.abs_diff(ours);
        let seconds = i64::try_from(skew.as_secs()).unwrap_or(i64::MAX);
        let signed = if theirs < ours { -seconds } else { seconds };
        let before = self.health().clock_skew.replace(signed);
        let was_fine = before.is_none_or(|before| before.unsigned_abs() <= SKEW.as_secs());
        if skew > SKEW && was_fine {
            tracing::warn!(
                target: EVENTS,
                event_type = Event::IssuerClockSkew.name(),
                issuer = %self.settings.name,
                seconds = signed,
                "the issuer's clock differs from this node's"
            );
        }
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
