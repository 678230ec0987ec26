//! A server, a daemon and a caller, ready for one test.

use std::fmt::Write as _;
use std::path::PathBuf;

use crate::support::daemon::quoted;
use crate::support::oidc::AWKWARD_SECRET;
use crate::support::user::own_uid;
use crate::support::{Caller, Daemon, OidcProvider, OrSkip as _, Site};

/// A client id that needs encoding.
const ODD_ID: &str = "cc:b&sic+2";

/// A world under construction.
#[derive(Debug)]
pub struct Plan {
    pub provider: OidcProvider,
    pub site: Site,
    /// The issuer in the daemon's configuration.
    pub issuer: String,
    /// The certificates that the configuration trusts.
    pub ca: PathBuf,
    /// Further lines of the issuer's table.
    pub issuer_lines: String,
    tokens: String,
    rules: String,
}

impl Plan {
    /// A server and an empty node; `None` if the test `name` is skipped.
    pub fn draw(name: &str) -> Option<Self> {
        Some(Self::with(OidcProvider::start().or_skip(name)?))
    }

    /// As [`draw`](Self::draw), with a server that speaks plain HTTP.
    pub fn draw_plain(name: &str) -> Option<Self> {
        Some(Self::with(OidcProvider::start_plain().or_skip(name)?))
    }

    fn with(provider: OidcProvider) -> Self {
        let site = Site::new();
        site.put_field("clients/basic", "client_secret", AWKWARD_SECRET);
        site.put("clients/odd-id", ODD_ID);
        site.put("clients/awkward", AWKWARD_SECRET);
        site.put("clients/wrong", "this-is-not-the-client-secret");
        Self {
            issuer: provider.issuer.clone(),
            ca: provider.pki("ca.pem"),
            // One test removes these lines to test the default of 10 a minute.
            issuer_lines: "requests_per_minute = 600\n".to_owned(),
            provider,
            site,
            tokens: String::new(),
            rules: String::new(),
        }
    }

    /// Adds a token of the client `basic`, `odd`, `post` or `wrong`, with further `lines` of its table.
    pub fn token(mut self, name: &str, client: &str, lines: &str) -> Self {
        write!(
            self.tokens,
            "[tokens.{name}]\nclient = \"{client}\"\ngrant = \"client_credentials\"\n{lines}\n\n"
        )
        .expect("a string takes text");
        self
    }

    /// Adds a rule for `uid`, with the `lines` that state what it allows.
    pub fn allow(mut self, uid: u32, lines: &str) -> Self {
        write!(self.rules, "[[allow]]\nuser = {uid}\n{lines}\n\n").expect("a string takes text");
        self
    }

    /// Writes the configuration. Without an explicit rule, the test's user may request all tokens.
    pub fn configure(&self) -> PathBuf {
        let (issuer, ca, issuer_lines) = (&self.issuer, quoted(&self.ca), &self.issuer_lines);
        let mut text = format!("[issuers.rig]\nissuer = {issuer:?}\nca = {ca}\n{issuer_lines}\n");
        for (name, id, method, secret) in [
            (
                "basic",
                r#"{ literal = "cc-basic" }"#,
                "client_secret_basic",
                "local:clients/basic#client_secret",
            ),
            (
                "odd",
                r#""local:clients/odd-id""#,
                "client_secret_basic",
                "local:clients/awkward",
            ),
            (
                "post",
                r#"{ literal = "cc-post" }"#,
                "client_secret_post",
                "local:clients/awkward",
            ),
            (
                "wrong",
                r#"{ literal = "cc-basic" }"#,
                "client_secret_basic",
                "local:clients/wrong",
            ),
        ] {
            write!(
                text,
                "[clients.{name}]\nissuer = \"rig\"\nid = {id}\nauth = {{ method = \"{method}\", secret = \"{secret}\" }}\n\n"
            )
            .expect("a string takes text");
        }
        text.push_str(&self.tokens);
        if self.rules.is_empty() {
            let names: Vec<_> = self.tokens.lines().filter_map(token_name).collect();
            write!(
                text,
                "[[allow]]\nuser = {}\ntokens = {names:?}\n",
                own_uid()
            )
            .expect("a string takes text");
        }
        text.push_str(&self.rules);
        self.site.configure(&text)
    }

    /// Starts the daemon and connects.
    pub async fn start(self) -> World {
        let daemon = Daemon::start(&self.site, &self.configure());
        let caller = Caller::connect(&self.site.socket()).await;
        World {
            caller,
            daemon,
            provider: self.provider,
            site: self.site,
        }
    }
}

/// The name in a line `[tokens.NAME]`.
fn token_name(line: &str) -> Option<&str> {
    line.strip_prefix("[tokens.")?.strip_suffix(']')
}

/// A server, a daemon and a caller. Fields are dropped in order: caller first, server last.
#[derive(Debug)]
pub struct World {
    pub caller: Caller,
    pub daemon: Daemon,
    pub provider: OidcProvider,
    pub site: Site,
}
