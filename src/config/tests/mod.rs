//! The configuration as a user meets it: a complete file, what follows from it, the shipped sample and the reference.

mod canary;
mod faults;
mod file;
mod reference;

use std::path::Path;
use std::time::Duration;

use claviger_backend::SecretRef;

use crate::config::{
    Accounts, AccountsUnavailable, Config, Mode, Problems, Refresh, SystemAccounts,
};
use crate::registry::BackendSettings;
use crate::registry::file_store::{FileSettings, StoreKey};
use claviger_core::broker::BudgetSettings;
use claviger_core::policy::{Action, Policy, ScopeLimit};
use claviger_oauth::{
    AudienceStyle, AuthMethod, ClientId, MetadataChange, ReducedScope, TokenFormat,
};
use claviger_oauth_wire::BasicEncoding;
use claviger_oauth_wire::Scopes;
use claviger_outbound::ResolverSettings;
use claviger_server::Limits;

/// Every key that there is, once at least.
const COMPLETE: &str = include_str!("complete.toml");

/// The file that is shipped.
const SAMPLE: &str = include_str!("../../../deploy/claviger.toml");

/// A machine with the user `www-data` and the group `web`.
#[derive(Debug)]
struct FakeAccounts;

impl Accounts for FakeAccounts {
    fn user(&self, name: &str) -> Result<Option<u32>, AccountsUnavailable> {
        match name {
            "offline" => Err(AccountsUnavailable),
            "www-data" => Ok(Some(33)),
            _ => Ok(None),
        }
    }

    fn group(&self, name: &str) -> Result<Option<u32>, AccountsUnavailable> {
        Ok((name == "web").then_some(44))
    }
}

fn parse(text: &str) -> Result<Config, Problems> {
    Config::parse_with(text, Path::new("claviger.toml"), &FakeAccounts)
}

fn reference(text: &str) -> SecretRef {
    text.parse().unwrap()
}

#[test]
fn a_complete_file_becomes_the_components_settings() {
    let config = parse(COMPLETE).unwrap();
    let [warning] = config.warnings.as_slice() else {
        panic!("{:?}", config.warnings)
    };
    assert_eq!(warning.path, "allow[1].exe", "of another user's program");
    assert_eq!(config.mode, Mode::Dev);
    assert!(config.require_backend_at_start && config.log.json);
    assert_eq!(config.log.level, tracing::Level::DEBUG);
    assert_eq!(config.drain_grace, Duration::from_secs(15));
    assert!(config.peer.allow_legacy_pid_attestation);
    assert_eq!(config.server.socket, Path::new("/run/c/broker.sock"));
    assert_eq!(
        config.server.admin_socket,
        Path::new("/run/c/private/a.sock")
    );
    assert_eq!(config.server.socket_group, Some(44));
    let limits = Limits {
        connections: 100,
        connections_per_uid: 50,
        open_requests: 400,
        open_requests_per_uid: 300,
        streams: 10,
        in_flight: 5,
        header_bytes: 4096,
        message_bytes: 8192,
        preface: Duration::from_millis(500),
        request: Duration::from_secs(4),
        keepalive: Duration::from_secs(20),
        keepalive_answer: Duration::from_secs(3),
        connection_age: Duration::from_mins(10),
    };
    assert_eq!(config.server.limits, limits);
    let budget = BudgetSettings {
        per_second: 7,
        burst: 9,
    };
    assert_eq!(config.budget, budget);
    let backends: Vec<(&str, &BackendSettings)> = config
        .backends
        .iter()
        .map(|(name, settings)| (name.as_str(), settings))
        .collect();
    let sealed = |key| {
        BackendSettings::File(FileSettings {
            directory: "/var/lib/c/secrets".into(),
            key,
        })
    };
    assert_eq!(
        backends,
        [
            ("local", &sealed(StoreKey::KeyFile("/etc/c/key".into()))),
            (
                "other",
                &sealed(StoreKey::PassphraseFile("/etc/c/pass".into()))
            ),
        ]
    );
}

#[test]
fn a_proxy_is_the_exception_and_others_connect_directly() {
    let config = parse(COMPLETE).unwrap();
    let [acme, bench] = config.issuers.as_slice() else {
        panic!("two issuers")
    };
    let proxy = "http://proxy.example:3128".parse().ok();
    assert_eq!(acme.outbound.proxy, proxy);
    assert_eq!(bench.outbound.proxy, None);
    assert_eq!(bench.outbound.dns.resolver, ResolverSettings::System);
    assert_eq!(bench.outbound.timeout, Duration::from_secs(30));
}

#[test]
fn issuers_and_clients_are_read() {
    let config = parse(COMPLETE).unwrap();
    let [acme, bench] = config.issuers.as_slice() else {
        panic!("two issuers")
    };
    assert_eq!(acme.issuer, "https://auth.example.com/tenant");
    assert_eq!(
        acme.endpoints.token.as_deref(),
        Some("https://auth.example.com/token?p=1")
    );
    assert_eq!(
        acme.endpoints.revocation.as_deref(),
        Some("https://auth.example.com/revoke")
    );
    assert_eq!(
        acme.outbound.ca.as_deref(),
        Some(Path::new("/etc/c/ca.pem"))
    );
    assert_eq!(acme.outbound.pins.len(), 2);
    assert_eq!(acme.outbound.timeout, Duration::from_secs(20));
    assert_eq!(acme.outbound.connect_timeout, Duration::from_secs(3));
    assert_eq!(acme.requests_per_minute, 30);
    assert!(acme.missing_token_type_is_bearer);
    assert_eq!(acme.on_metadata_change, MetadataChange::Hold);
    assert_eq!(bench.on_metadata_change, MetadataChange::Adopt);
    let resolver = ResolverSettings::Tls {
        servers: vec![
            "192.0.2.53:853".parse().unwrap(),
            "[2001:db8::53]:8853".parse().unwrap(),
        ],
        name: "dns.example.com".into(),
    };
    assert_eq!(acme.outbound.dns.resolver, resolver);
    assert!(acme.outbound.dns.dnssec);
    assert_eq!(acme.outbound.dns.timeout, Duration::from_secs(1));
    let networks = ["10.0.0.0/8", "192.0.2.7/32", "fd00::/8"];
    assert_eq!(
        acme.outbound.dns.allow,
        networks.map(|text| text.parse().unwrap())
    );
    assert!(
        !acme.outbound.allow_loopback_http,
        "an https issuer must not lead to http, not even in dev"
    );
    assert!(bench.outbound.allow_loopback_http);

    let [billing, reports] = config.clients.as_slice() else {
        panic!("two clients")
    };
    assert_eq!(
        billing.id,
        ClientId::Reference(reference("local:oauth/billing#client_id"))
    );
    let AuthMethod::Basic { secret, encoding } = &billing.auth else {
        panic!("basic")
    };
    assert_eq!(*secret, reference("local:oauth/billing@7#client_secret"));
    assert_eq!(*encoding, BasicEncoding::Raw);
    assert_eq!(reports.id, ClientId::Literal("reports client".into()));
    assert!(
        matches!(&reports.auth, AuthMethod::Post { secret } if *secret == reference("other:reports"))
    );
}

#[test]
fn dns_over_https_has_its_own_port() {
    let config = parse(&COMPLETE.replace("resolver = \"tls\"", "resolver = \"https\"")).unwrap();
    let ResolverSettings::Https { servers, name } = &config.issuers[0].outbound.dns.resolver else {
        panic!("https")
    };
    assert_eq!(servers[0], "192.0.2.53:443".parse().unwrap());
    assert_eq!(name, "dns.example.com");
}

#[test]
fn tokens_secrets_and_rules_are_read() {
    let config = parse(COMPLETE).unwrap();
    let [billing, reports] = config.tokens.as_slice() else {
        panic!("two tokens")
    };
    assert_eq!(billing.scopes, Scopes::new(["read", "write"]).unwrap());
    assert_eq!(billing.resources, ["https://api.example.com"]);
    assert_eq!(
        billing.audience.as_deref(),
        Some("https://aud.example.com/")
    );
    assert_eq!(billing.audience_style, AudienceStyle::Rfc8707);
    assert!(billing.verify_resource && !reports.verify_resource);
    assert_eq!(billing.environment.as_deref(), Some("prod"));
    assert_eq!(billing.default_lifetime, Duration::from_mins(30));
    assert_eq!(billing.max_lifetime, Duration::from_hours(2));
    assert_eq!(billing.format, TokenFormat::Jwt);
    assert_eq!(billing.min_length, Some(40));
    assert_eq!(billing.reduced_scope, ReducedScope::Refuse);
    let pointer = billing.token_pointer.as_ref().unwrap();
    assert_eq!(pointer.to_string(), "/authed_user/access_token");
    assert_eq!(reports.token_pointer, None);
    assert_eq!(billing.idle, Duration::from_hours(48));
    assert_eq!(reports.idle, Duration::from_mins(30));
    assert_eq!(reports.resources.len(), 2);
    assert_eq!(reports.audience_style, AudienceStyle::Rfc8707);
    assert_eq!(reports.default_lifetime, Duration::from_hours(1));

    let database = &config.secrets[0];
    assert_eq!(database.refresh.interval, Duration::from_mins(10));
    assert_eq!(database.refresh.max_stale, Duration::from_mins(40));

    let policy = Policy::new(config.rules.clone());
    let [first, second] = policy.rules() else {
        panic!("two rules")
    };
    assert_eq!(first.selector.user, Some(33));
    assert_eq!(first.selector.group, Some(0));
    assert_eq!(first.selector.unit.as_deref(), Some("billing@1.service"));
    assert_eq!(
        first.selector.executable.as_deref(),
        Some(Path::new("/usr/bin/billing"))
    );
    assert_eq!(
        first.scopes,
        ScopeLimit::Only(Scopes::new(["read"]).unwrap())
    );
    assert_eq!(second.selector.container.as_deref(), Some("c0ffee"));
    assert_eq!(second.scopes, ScopeLimit::Definition);
    assert_eq!(&*second.names(Action::Secret)[0], "database");
}

#[test]
fn every_reference_is_held_once_at_the_faster_pace() {
    let config = parse(COMPLETE).unwrap();
    let held: Vec<(String, Refresh)> = config
        .references()
        .into_iter()
        .map(|held| (held.reference.to_string(), held.refresh))
        .collect();
    let pace = |minutes, stale| Refresh {
        interval: Duration::from_mins(minutes),
        max_stale: Duration::from_mins(stale),
    };
    let expected = [
        ("local:oauth/billing#client_id", pace(30, 120)),
        ("local:oauth/billing@7#client_secret", pace(30, 120)),
        ("other:reports", pace(10, 40)),
    ];
    assert_eq!(
        held,
        expected.map(|(text, refresh)| (text.to_owned(), refresh))
    );
}

#[test]
fn an_empty_file_is_a_daemon_that_gives_nothing() {
    let config = parse("").unwrap();
    assert_eq!(config.mode, Mode::Production);
    assert_eq!(config.server.socket, Path::new("/run/claviger/broker.sock"));
    assert_eq!(
        config.server.admin_socket,
        Path::new("/run/claviger/admin/admin.sock")
    );
    assert_eq!(config.server.limits, Limits::default());
    assert_eq!(config.budget, BudgetSettings::default());
    assert_eq!(config.refresh.max_stale, Duration::from_hours(5));
    assert!(config.rules.is_empty() && !config.peer.allow_legacy_pid_attestation);
    assert_eq!(
        config.digest, "e3b0c44298fc1c14",
        "the beginning of SHA-256 of nothing"
    );
    assert!(parse("[server]").unwrap().server == config.server);
}

#[test]
fn defaults_follow_what_is_set() {
    let config = parse(
        "[server]\nsocket = '/tmp/x/b.sock'\n[server.limits]\nconnections = 10\nopen_requests = 20\n[refresh]\ninterval = '12h'",
    )
    .unwrap();
    assert_eq!(
        config.server.admin_socket,
        Path::new("/tmp/x/admin/admin.sock")
    );
    assert_eq!(config.server.limits.connections_per_uid, 10);
    assert_eq!(config.server.limits.open_requests_per_uid, 20);
    assert_eq!(
        config.refresh.max_stale,
        Duration::from_hours(24),
        "never past a day"
    );
}

#[test]
fn debug_shows_what_identifies_a_configuration_only() {
    let config = parse(COMPLETE).unwrap();
    let text = format!("{config:?}");
    assert!(
        text.contains(&config.digest) && text.contains("claviger.toml"),
        "{text}"
    );
    assert!(!text.contains("billing"), "{text}");
}

/// The shipped file is valid as it is, and with every commented key.
#[test]
fn the_sample_parses_without_a_word() {
    let uncommented: String = SAMPLE
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(key) if key.starts_with(|letter: char| letter.is_ascii_lowercase()) => key,
            _ => line,
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    assert_ne!(uncommented, SAMPLE);
    for text in [SAMPLE, &uncommented] {
        let config = Config::parse(text, Path::new("deploy/claviger.toml"));
        let config = config.unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(config.warnings, []);
        assert_eq!(config.rules.len(), 2);
    }
    let (plain, full) = (parse(SAMPLE).unwrap(), parse(&uncommented).unwrap());
    assert_eq!(
        plain.server.limits, full.server.limits,
        "the comments show the defaults"
    );
    assert_eq!(plain.budget, full.budget);
    assert_eq!(plain.refresh, full.refresh);
    assert_eq!(plain.log, full.log);
}

#[test]
fn the_accounts_of_this_machine_are_asked() {
    assert_eq!(SystemAccounts.user("root"), Ok(Some(0)));
    assert_eq!(SystemAccounts.user("no such user"), Ok(None));
    assert_eq!(SystemAccounts.group("no such group"), Ok(None));
}
