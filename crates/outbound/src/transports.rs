//! The transports of one issuer, made from its settings.
//!
//! Owns the set-up: trust roots, pins, the resolver and the clients over them. Sends nothing. Next: [`crate::http`].

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use claviger_kernel::Untrusted;

use crate::Settings;
use crate::dns::{Resolver, ResolverError};
use crate::endpoint::EndpointRules;
use crate::http::{Client, Roots, RootsError, Transport, client_config};

/// The connections of one issuer.
#[derive(Clone, Debug)]
pub struct Transports {
    /// To the issuer itself, with its pins.
    pub to_issuer: Arc<dyn Transport>,
    /// To the resources of its tokens, without pins: a resource has other keys.
    pub to_resources: Arc<dyn Transport>,
    trust: Option<Trust>,
}

/// The roots that are trusted. The settings name files and the system's store, whose content can change without them.
#[derive(Clone, Debug)]
struct Trust {
    roots: Roots,
    dns_roots: Roots,
}

/// Why transports cannot be set up: the configuration is at fault, or files of this node.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A CA bundle cannot be used.
    #[error("{of}: {}: {why}", path.display())]
    Ca {
        /// The key that names the bundle: `ca` or `dns.ca`.
        of: &'static str,
        /// The bundle.
        path: PathBuf,
        /// What is wrong: it cannot be read, or has no usable certificate.
        why: &'static str,
        /// What is wrong with the file or its way.
        #[source]
        source: Option<Untrusted>,
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

impl Transports {
    /// Reads the trust roots and makes the clients. Sends nothing.
    ///
    /// # Errors
    /// A [`SetupError`] that says what to change.
    pub fn open(settings: &Settings, rules: &EndpointRules) -> Result<Self, SetupError> {
        let clear = rules.in_the_clear();
        let roots = match settings.ca.as_deref() {
            Some(path) => bundle("ca", path)?,
            None => Roots::system(),
        };
        if roots.is_empty() && !clear {
            return Err(SetupError::NoRoots);
        }
        // A clear-text issuer on a system without roots has nothing to pin either.
        let pins = if roots.is_empty() {
            &[]
        } else {
            settings.pins.as_slice()
        };
        let dns_roots = match settings.dns.ca.as_deref() {
            Some(path) => bundle("dns.ca", path)?,
            None if settings.ca.is_none() => roots.clone(),
            None => Roots::system(),
        };
        let tls = |roots, pins| client_config(roots, pins).map_err(|_rustls| SetupError::Tls);
        let dns_tls = tls(&dns_roots, &[])?;
        let resolver = Resolver::new(&settings.dns, dns_tls, rules.policy().clone())
            .map_err(|ResolverError| SetupError::Resolver)?;
        let client = |pins| {
            let client = Client::new(tls(&roots, pins)?, resolver.clone(), settings, clear)
                .map_err(|_build| SetupError::Tls)?;
            Ok::<Arc<dyn Transport>, SetupError>(Arc::new(client))
        };
        let to_issuer = client(pins)?;
        let to_resources = if pins.is_empty() {
            Arc::clone(&to_issuer)
        } else {
            client(&[])?
        };
        Ok(Self {
            to_issuer,
            to_resources,
            trust: Some(Trust { roots, dns_roots }),
        })
    }

    /// One transport for everything, without trust roots of its own.
    #[must_use]
    pub fn over(transport: Arc<dyn Transport>) -> Self {
        Self {
            to_issuer: Arc::clone(&transport),
            to_resources: transport,
            trust: None,
        }
    }

    /// Whether both trust the same certificates. Never true for transports without trust roots of their own.
    #[must_use]
    pub fn trust_as(&self, other: &Self) -> bool {
        match (&self.trust, &other.trust) {
            (Some(one), Some(other)) => {
                one.roots.are_those_of(&other.roots) && one.dns_roots.are_those_of(&other.dns_roots)
            }
            (None, _) | (_, None) => false,
        }
    }
}

fn bundle(of: &'static str, path: &Path) -> Result<Roots, SetupError> {
    Roots::bundle(path).map_err(|error| match error {
        RootsError::Unreadable(source) => SetupError::Ca {
            of,
            path: path.to_owned(),
            why: "the CA bundle cannot be used",
            source: Some(source),
        },
        RootsError::Unusable => SetupError::Ca {
            of,
            path: path.to_owned(),
            why: "the CA bundle has no usable certificate",
            source: None,
        },
    })
}
