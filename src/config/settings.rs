//! The configuration as a whole.
//!
//! Owns [`Config`], the struct of the components' own settings, and the order in which the sections are read: names first,
//! then definitions, then rules, then the checks that need all of them. Reads `[log]` and `[peer]` itself.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use claviger_backend::{BackendName, SecretRef};
use toml::de::DeTable;
use tracing::Level;

use crate::config::names::Declared;
use crate::config::reader::Section;
use crate::config::report::Report;
use crate::config::{
    Accounts, Context, NamedSecret, Problem, Problems, Refresh, SystemAccounts, backends, checks,
    clients, file, issuers, rules, secrets, server as server_section, syntax, tokens,
};
use crate::registry::BackendSettings;
use claviger_core::broker::BudgetSettings;
use claviger_core::policy::Rule;
use claviger_oauth::{ClientSettings, IssuerSettings, TokenSettings};
use claviger_runtime::telemetry;
use claviger_server as server;

/// A checked configuration.
#[derive(Clone)]
pub struct Config {
    /// The file.
    pub(crate) origin: PathBuf,
    /// The first 16 hexadecimal digits of the file's SHA-256.
    pub(crate) digest: String,
    /// How strict the daemon is.
    pub(crate) mode: Mode,
    /// Whether the daemon refuses to start while a backend does not answer.
    pub(crate) require_backend_at_start: bool,
    /// How long a stopping daemon waits for requests in flight.
    pub(crate) drain_grace: Duration,
    /// How much is logged.
    pub(crate) log: telemetry::Settings,
    /// The sockets.
    pub server: server::Settings,
    /// How many requests of one peer may cost work.
    pub(crate) budget: BudgetSettings,
    /// How peers are identified.
    pub(crate) peer: PeerConfig,
    /// The backends, by name.
    pub backends: Vec<(BackendName, BackendSettings)>,
    /// The issuers.
    pub(crate) issuers: Vec<Arc<IssuerSettings>>,
    /// The clients. Each one's issuer is one of the issuers.
    pub(crate) clients: Vec<Arc<ClientSettings>>,
    /// The tokens. Each one's client is one of the clients.
    pub(crate) tokens: Vec<TokenSettings>,
    /// The secrets that programs may request.
    pub(crate) secrets: Vec<NamedSecret>,
    /// How often everything else is refreshed.
    pub(crate) refresh: Refresh,
    /// The rules, in the order of the file.
    pub rules: Vec<Rule>,
    /// What works but is probably not meant.
    pub(crate) warnings: Vec<Problem>,
}

/// How strict the daemon is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    /// As strict as it can be.
    #[default]
    Production,
    /// Issuers on a literal loopback address may be used without TLS.
    Dev,
}

/// How peers are identified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PeerConfig {
    /// Whether units, containers and executables are accepted where the kernel cannot pin the process (before Linux 6.5).
    pub(crate) allow_legacy_pid_attestation: bool,
}

/// A reference that the daemon keeps live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldReference {
    /// Where the value is.
    pub(crate) reference: SecretRef,
    /// How often it is refreshed.
    pub(crate) refresh: Refresh,
}

impl Config {
    /// Reads the file at `path`, which must be a regular file that only root or the daemon's user owns and can write.
    ///
    /// # Errors
    /// All [`Problems`] of the file or of its text.
    pub fn load(path: &Path) -> Result<Self, Problems> {
        Self::parse(&file::read(path)?, path)
    }

    /// Reads `text`, which came from `origin`, with the accounts of this machine.
    ///
    /// # Errors
    /// All [`Problems`] of the text.
    pub fn parse(text: &str, origin: &Path) -> Result<Self, Problems> {
        Self::parse_with(text, origin, &SystemAccounts)
    }

    /// Reads `text`, which came from `origin`. Names of users and groups are looked up in `accounts`.
    ///
    /// # Errors
    /// All [`Problems`] of the text.
    pub fn parse_with(
        text: &str,
        origin: &Path,
        accounts: &dyn Accounts,
    ) -> Result<Self, Problems> {
        if text.len() > file::MOST_BYTES {
            let message = "is larger than 1 MiB".to_owned();
            return Err(Problems::of_file(origin, message));
        }
        let report = Report::new(text);
        let config = Self::parse_into(&report, text, accounts);
        let (problems, warnings) = report.into_lists();
        match config {
            Some(config) if problems.is_empty() => Ok(Self {
                origin: origin.to_owned(),
                warnings,
                ..config
            }),
            _ => Err(Problems::new(origin, problems)),
        }
    }

    /// Reads `text` as far as it can be understood; `report` says whether that was all of it.
    pub(super) fn parse_into(report: &Report, text: &str, accounts: &dyn Accounts) -> Option<Self> {
        let (document, errors) = DeTable::parse_recoverable(text);
        if !syntax::note(report, text, &errors) {
            return None;
        }
        let table = document.get_ref();
        Some(Section::root(report, table, |root| {
            let modes = [("production", Mode::Production), ("dev", Mode::Dev)];
            let context = Context {
                report,
                accounts,
                mode: root.choice("mode", &modes).unwrap_or_default(),
                backends: Declared::below(root, "backends", "backend"),
                issuers: Declared::below(root, "issuers", "issuer"),
                clients: Declared::below(root, "clients", "client"),
                tokens: Declared::below(root, "tokens", "token"),
                secrets: Declared::below(root, "secrets", "secret"),
            };
            Self::read(&context, root, digest_of(text))
        }))
    }

    fn read(context: &Context<'_>, root: &Section<'_>, digest: String) -> Self {
        let server = server_section::read(context, root);
        let backends = backends::read(context, root);
        let issuers = issuers::read(context, root);
        let clients = clients::read(context, root, &issuers);
        let tokens = tokens::read(context, root, &clients);
        let refresh = secrets::read_defaults(root);
        let secrets = secrets::read(context, root, refresh);
        let rules = rules::read(context, root, &tokens);
        root.unsupported(&["keys"]);
        checks::environments(context, &tokens);
        checks::unused(context);
        Self {
            origin: PathBuf::new(),
            digest,
            mode: context.mode,
            require_backend_at_start: root.flag("require_backend_at_start", false),
            drain_grace: server.drain_grace,
            log: root.table("log", log).unwrap_or_default(),
            server: server.settings,
            budget: server.budget,
            peer: root.table("peer", peer).unwrap_or_default(),
            backends,
            issuers,
            clients,
            tokens,
            secrets,
            refresh,
            rules,
            warnings: Vec::new(),
        }
    }

    /// Every reference that must be kept live, once each. If two sections want different intervals, the shorter one applies.
    #[must_use]
    pub fn references(&self) -> Vec<HeldReference> {
        let mut held = BTreeMap::<&SecretRef, Refresh>::new();
        let of_clients = self
            .clients
            .iter()
            .flat_map(|client| client.references())
            .map(|reference| (reference, self.refresh));
        let of_secrets = self
            .secrets
            .iter()
            .map(|secret| (&secret.reference, secret.refresh));
        for (reference, wanted) in of_clients.chain(of_secrets) {
            let refresh = held.entry(reference).or_insert(wanted);
            refresh.interval = refresh.interval.min(wanted.interval);
            refresh.max_stale = refresh.max_stale.min(wanted.max_stale);
        }
        held.into_iter()
            .map(|(reference, refresh)| HeldReference {
                reference: reference.clone(),
                refresh,
            })
            .collect()
    }
}

/// Prints what identifies a configuration; `claviger check` shows its contents.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("origin", &self.origin)
            .field("digest", &self.digest)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

fn digest_of(text: &str) -> String {
    let digest = digest(&SHA256, text.as_bytes());
    let head = digest.as_ref().first_chunk().copied().unwrap_or_default();
    format!("{:016x}", u64::from_be_bytes(head))
}

/// Reads `[log]`. The destination is not configurable: the daemon writes to its standard error, and the service manager keeps
/// the records.
fn log(section: &Section<'_>) -> telemetry::Settings {
    let default = telemetry::Settings::default();
    let levels = [
        ("error", Level::ERROR),
        ("warn", Level::WARN),
        ("info", Level::INFO),
        ("debug", Level::DEBUG),
        ("trace", Level::TRACE),
    ];
    telemetry::Settings {
        level: section.choice("level", &levels).unwrap_or(default.level),
        json: section.flag("json", default.json),
    }
}

fn peer(section: &Section<'_>) -> PeerConfig {
    PeerConfig {
        allow_legacy_pid_attestation: section.flag("allow_legacy_pid_attestation", false),
    }
}
