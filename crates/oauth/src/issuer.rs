//! One issuer, as everybody who asks it sees it.
//!
//! Owns what all clients of an issuer share: the connection pool with its trust, the endpoints, the number of requests under
//! way, the limits per client, and what is known of the issuer's health and clock. Never sees a credential. A reload makes a
//! new one; requests under way finish on the old one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use url::Url;

use crate::discovery::Discovery;
use crate::document::Reader;
use crate::limiter::Limiter;
use crate::resource::{Resource, Resources};
use crate::{Error, ErrorKind, IssuerMetadata, IssuerSettings};
use claviger_oauth_wire::header;
use claviger_outbound::dns::{Resolver, ResolverError};
use claviger_outbound::endpoint::{EndpointFlaw, EndpointRules};
use claviger_outbound::http::header::DATE;
use claviger_outbound::http::{Answer, Client, Roots, RootsError, Transport, client_config};
use claviger_runtime::clock::{Clock, Moment};
use claviger_runtime::telemetry::{EVENTS, Event};

/// The most requests under way at one issuer. An issuer that hangs holds up nobody but its own clients.
const CONCURRENT: usize = 8;

/// Clocks that differ by more are reported.
const SKEW: Duration = Duration::from_mins(1);

/// An issuer that can be asked.
#[derive(Debug)]
pub struct Issuer {
    settings: IssuerSettings,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) endpoints: Known,
    pub(super) resources: Resources,
    trust: Option<Trust>,
    pub(super) slots: Semaphore,
    /// Shared by all tokens of a client; bounded by the configuration.
    limiters: Mutex<HashMap<Arc<str>, Arc<Limiter>>>,
    /// The last lifetime that it reported, by the name of the token; bounded by the configuration.
    lifetimes: Mutex<HashMap<Arc<str>, Duration>>,
    health: Mutex<Health>,
}

/// Whom it believes. The settings name files and the system's store, which change without them.
#[derive(Debug)]
struct Trust {
    roots: Roots,
    dns_roots: Roots,
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
    last_error: Option<(ErrorKind, Moment)>,
    /// The issuer's clock minus ours, in seconds.
    clock_skew: Option<i64>,
}

/// What is known of an issuer, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerStatus {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Its identifier.
    pub issuer: String,
    /// Its endpoints; `None` if it has not said yet.
    pub metadata: Option<IssuerMetadata>,
    /// When it last gave a token.
    pub last_success: Option<Moment>,
    /// What last went wrong there, and when.
    pub last_error: Option<(ErrorKind, Moment)>,
    /// Its clock minus ours in seconds, by its last answer.
    pub clock_skew: Option<i64>,
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
    /// A CA bundle cannot be used.
    #[error("{of}: {why}")]
    Ca {
        /// Whose bundle: `ca` or `dns.ca`.
        of: &'static str,
        /// What is wrong: it cannot be read, or has no usable certificate.
        why: &'static str,
        /// What the system said about the file.
        #[source]
        source: Option<std::io::Error>,
    },
    /// The system has no trust roots, and `ca` gives none.
    #[error("this system has no CA certificates; install them, or set `ca`")]
    NoRoots,
    /// The TLS settings or the HTTP client cannot be made.
    #[error("TLS cannot be set up")]
    Tls,
    /// The resolver cannot be made.
    #[error("the resolver cannot be set up")]
    Resolver,
}

impl Issuer {
    /// Sets up an issuer: checks its endpoints and reads its trust roots. Asks nothing yet.
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
        let roots = roots("ca", settings.outbound.ca.as_deref())?;
        if roots.is_empty() && !rules.in_the_clear() {
            return Err(SetupError::NoRoots);
        }
        // A clear-text issuer on a bare system has nothing to pin either.
        let pins = if roots.is_empty() {
            &[]
        } else {
            settings.outbound.pins.as_slice()
        };
        let trust = |pins| client_config(&roots, pins).map_err(|_rustls| SetupError::Tls);
        let tls = trust(pins)?;
        // The pinned keys are the issuer's own; a resource has others.
        let unpinned = (!pins.is_empty()).then(|| trust(&[])).transpose()?;
        let dns_roots = match settings.outbound.dns.ca.as_deref() {
            Some(path) => roots_of_bundle("dns.ca", path)?,
            None if settings.outbound.ca.is_none() => roots.clone(),
            None => Roots::system(),
        };
        let dns_tls = client_config(&dns_roots, &[]).map_err(|_rustls| SetupError::Tls)?;
        let resolver = Resolver::new(&settings.outbound.dns, dns_tls, rules.policy().clone())
            .map_err(|ResolverError| SetupError::Resolver)?;
        let clear = rules.in_the_clear();
        let client = |tls| {
            let client = Client::new(tls, resolver.clone(), &settings.outbound, clear);
            let client = client.map_err(|_build| SetupError::Tls)?;
            Ok::<Arc<dyn Transport>, SetupError>(Arc::new(client))
        };
        let to_issuer = client(tls)?;
        let to_resources = match unpinned {
            Some(unpinned) => client(unpinned)?,
            None => Arc::clone(&to_issuer),
        };
        let mut issuer = Self::over(settings, rules, (to_issuer, to_resources), clock)?;
        issuer.trust = Some(Trust { roots, dns_roots });
        Ok(issuer)
    }

    /// Whether it has the same settings as `other` and believes the same certificates. What it knows beyond that may differ.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        let same = |(one, other): (&Trust, &Trust)| {
            one.roots.are_those_of(&other.roots) && one.dns_roots.are_those_of(&other.dns_roots)
        };
        self.settings == other.settings
            && self
                .trust
                .as_ref()
                .zip(other.trust.as_ref())
                .is_some_and(same)
    }

    /// Sets up an issuer over transports that are there already: to the issuer itself, and to the resources of its tokens.
    pub(super) fn over(
        settings: IssuerSettings,
        rules: EndpointRules,
        (transport, to_resources): (Arc<dyn Transport>, Arc<dyn Transport>),
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
        let reader = |transport| Reader {
            transport,
            clock: Arc::clone(&clock),
            timeout: settings.outbound.timeout,
        };
        let discovery = token.is_none().then(|| {
            let reader = reader(Arc::clone(&transport));
            Discovery::new(&settings, rules.clone(), reader)
        });
        let (name, issuer) = (Arc::clone(&settings.name), settings.issuer.clone());
        let resources = Resources::new(name, issuer, rules, reader(to_resources));
        Ok(Self {
            settings,
            clock,
            transport,
            endpoints: Known {
                token,
                revocation,
                discovery,
            },
            resources,
            trust: None,
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

    /// What is known of it. Costs no request.
    #[must_use]
    pub fn status(&self) -> IssuerStatus {
        let metadata = self.metadata();
        let health = self.health();
        IssuerStatus {
            name: Arc::clone(&self.settings.name),
            issuer: self.settings.issuer.clone(),
            metadata,
            last_success: health.last_success,
            last_error: health.last_error,
            clock_skew: health.clock_skew,
        }
    }

    /// Makes sure that the endpoints are known. Spends no token request.
    ///
    /// # Errors
    /// If the issuer does not say, or says something unacceptable.
    pub async fn discover(&self) -> Result<(), Error> {
        let known = self.token_endpoint(self.settings.outbound.timeout).await;
        known.map(|_| ()).map_err(|kind| Error {
            kind,
            issuer: Arc::clone(&self.settings.name),
            body_bytes: None,
        })
    }

    /// Makes sure that a resource names this issuer in its metadata (RFC 9728). Spends no token request.
    ///
    /// # Errors
    /// [`ErrorKind::Metadata`] if it does not, or has no metadata; else why it could not be asked.
    pub async fn verify_resource(&self, resource: &str) -> Result<(), Error> {
        let resource = self.resource(resource);
        let vouched = resource.vouched(self.settings.outbound.timeout).await;
        vouched.map(|_| ()).map_err(|kind| Error {
            kind,
            issuer: Arc::clone(&self.settings.name),
            body_bytes: None,
        })
    }

    /// A resource that tokens of this issuer are for.
    pub(super) fn resource(&self, resource: &str) -> Arc<Resource> {
        self.resources.get(resource)
    }

    /// Where tokens are, and the authentication methods that the issuer says it takes.
    pub(super) async fn token_endpoint(
        &self,
        limit: Duration,
    ) -> Result<(Url, Option<Vec<&'static str>>), ErrorKind> {
        match (&self.endpoints.token, &self.endpoints.discovery) {
            (Some(url), _) => Ok((url.clone(), None)),
            (None, Some(discovery)) => {
                let discovered = discovery.discovered(limit).await?;
                Ok((discovered.token.clone(), discovered.auth_methods.clone()))
            }
            (None, None) => Err(ErrorKind::Metadata),
        }
    }

    /// Where tokens are revoked; `None` if the issuer does not do that.
    pub(super) async fn revocation_endpoint(
        &self,
        limit: Duration,
    ) -> Result<Option<Url>, ErrorKind> {
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

    /// The lifetime to believe of a token whose answer reports `reported`; `None` if none was ever reported. What was is
    /// remembered for answers that report none: some issuers say it with the first token only.
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
    pub(super) fn note_outcome(&self, outcome: Result<(), ErrorKind>) {
        let now = self.clock.now();
        let mut health = self.health();
        match outcome {
            Ok(()) => health.last_success = Some(now),
            // A missing credential is the backend's trouble, and says nothing about the issuer.
            Err(ErrorKind::NoCredential { .. }) => {}
            Err(kind) => health.last_error = Some((kind, now)),
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

fn roots(of: &'static str, bundle: Option<&std::path::Path>) -> Result<Roots, SetupError> {
    match bundle {
        Some(path) => roots_of_bundle(of, path),
        None => Ok(Roots::system()),
    }
}

fn roots_of_bundle(of: &'static str, path: &std::path::Path) -> Result<Roots, SetupError> {
    Roots::bundle(path).map_err(|error| match error {
        RootsError::Unreadable(source) => SetupError::Ca {
            of,
            why: "the CA bundle cannot be read",
            source: Some(source),
        },
        RootsError::Unusable => SetupError::Ca {
            of,
            why: "the CA bundle has no usable certificate",
            source: None,
        },
    })
}
