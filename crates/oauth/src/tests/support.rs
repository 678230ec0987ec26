//! What the tests of the engine share: settings, a scripted issuer, and a log that can be searched.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use claviger_backend::{Secret, SecretRef};
use tracing_subscriber::fmt::MakeWriter;
use zeroize::Zeroizing;

use crate::*;
use claviger_core::secrets::Live;
use claviger_core::tokens::source::{Ask, TokenSource as _, Urgency};
use claviger_oauth_wire::Scopes;
use claviger_outbound::Transports;
use claviger_outbound::endpoint::EndpointRules;
use claviger_outbound::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName};
use claviger_outbound::http::{Answer, Body, Error as Lost, Headers, Request, Transport};
use claviger_runtime::clock::{Clock, SteppedClock};

pub(crate) const SECRET: &str = "s3cret-SENTINEL-9b1f";
/// An address that is not public.
pub(crate) const PRIVATE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3));
pub(crate) const TOKEN: &str = "t0ken-SENTINEL-77aa";

pub(crate) fn issuer_settings(issuer: &str) -> IssuerSettings {
    IssuerSettings {
        name: "acme".into(),
        issuer: issuer.to_owned(),
        endpoints: Endpoints {
            token: Some("https://auth.example/token".to_owned()),
            revocation: Some("https://auth.example/revoke".to_owned()),
        },
        on_metadata_change: MetadataChange::Adopt,
        outbound: claviger_outbound::Settings {
            ca: None,
            pins: Vec::new(),
            dns: claviger_outbound::DnsSettings {
                resolver: claviger_outbound::ResolverSettings::System,
                dnssec: false,
                ca: None,
                timeout: Duration::from_secs(2),
                allow: Vec::new(),
            },
            allow_loopback_http: false,
            timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            proxy: None,
        },
        requests_per_minute: 10,
        missing_token_type_is_bearer: false,
    }
}

pub(crate) fn client_settings() -> ClientSettings {
    ClientSettings {
        name: "billing".into(),
        issuer: Arc::new(issuer_settings("https://auth.example")),
        id: ClientId::Literal("cl:ient".to_owned()),
        auth: AuthMethod::Basic {
            secret: "prod:oauth/billing#client_secret".parse().unwrap(),
            encoding: claviger_oauth_wire::BasicEncoding::Rfc6749,
        },
    }
}

pub(crate) fn token_settings() -> TokenSettings {
    TokenSettings {
        name: "billing-api".into(),
        client: Arc::new(client_settings()),
        grant: Grant::ClientCredentials,
        scopes: scopes("read"),
        resources: vec!["https://api.example".to_owned()],
        audience: None,
        audience_style: AudienceStyle::Rfc8707,
        verify_resource: false,
        environment: None,
        default_lifetime: Duration::from_hours(1),
        max_lifetime: Duration::from_hours(24),
        format: TokenFormat::Auto,
        min_length: None,
        reduced_scope: ReducedScope::Serve,
        token_pointer: None,
        idle: Duration::from_mins(30),
    }
}

pub(crate) fn rules(settings: &IssuerSettings) -> Result<EndpointRules, EndpointFlaw> {
    EndpointRules::new(
        &settings.issuer,
        &settings.outbound.dns.allow,
        settings.outbound.allow_loopback_http,
    )
}

pub(crate) fn scopes(text: &str) -> Scopes {
    Scopes::new(text.split_whitespace()).unwrap()
}

pub(crate) fn fixed(reference: &SecretRef) -> Live {
    let secret = Secret::from_text(SECRET.to_owned());
    Live::fixed(reference.clone(), secret, "1".parse().unwrap())
}

pub(crate) fn client_of(issuer: &Arc<Issuer>, token: TokenSettings) -> TokenClient {
    let credential = Credential::new(&token.client, fixed);
    TokenClient::new(Arc::clone(issuer), token, credential)
}

impl TokenClient {
    /// A token with these scopes, as the cache asks for one that is needed.
    pub(crate) async fn token(&self, scopes: &Scopes) -> Result<Issued, Error> {
        self.obtain(&Ask::client(scopes.clone()), Urgency::Needed)
            .await
    }
}

/// The token of [`token_settings`], for another client.
pub(crate) fn token_settings_of(client: ClientSettings) -> TokenSettings {
    TokenSettings {
        client: Arc::new(client),
        ..token_settings()
    }
}

/// An engine over a script, on a clock that tests move.
pub(crate) struct Rig {
    pub(crate) clock: Arc<SteppedClock>,
    pub(crate) script: Arc<Script>,
    pub(crate) issuer: Arc<Issuer>,
    pub(crate) client: TokenClient,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(issuer_settings("https://auth.example"), token_settings())
    }

    /// With no endpoints given.
    pub(crate) fn discovering(issuer: &str) -> Self {
        let mut settings = issuer_settings(issuer);
        settings.endpoints = Endpoints::default();
        Self::with(settings, token_settings())
    }

    pub(crate) fn with(settings: IssuerSettings, token: TokenSettings) -> Self {
        let clock = Arc::new(SteppedClock::new());
        let script = Arc::new(Script::default());
        let rules = rules(&settings).unwrap();
        let transport: Arc<dyn Transport> = Arc::clone(&script) as _;
        let shared: Arc<dyn Clock> = Arc::clone(&clock) as _;
        let issuer =
            Arc::new(Issuer::over(settings, rules, Transports::over(transport), shared).unwrap());
        let client = client_of(&issuer, token);
        Self {
            clock,
            script,
            issuer,
            client,
        }
    }

    pub(crate) async fn kind(&self) -> ErrorKind {
        self.client.token(&scopes("read")).await.unwrap_err().kind
    }
}

/// An issuer that answers by a script and records its requests. Without a script it never answers.
#[derive(Debug, Default)]
pub(crate) struct Script {
    answers: Mutex<VecDeque<Result<Answer, Lost>>>,
    /// Served repeatedly once the answers are used up.
    documents: Mutex<Vec<(String, u16, String)>>,
    pub(crate) asked: Mutex<Vec<Asked>>,
    pub(crate) under_way: Mutex<(usize, usize)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) url: String,
    pub(crate) authorization: Option<String>,
    pub(crate) form: String,
}

impl Script {
    pub(crate) fn then(&self, answer: Result<Answer, Lost>) -> &Self {
        self.answers.lock().unwrap().push_back(answer);
        self
    }

    pub(crate) fn then_token(&self, fields: &str) -> &Self {
        self.then(Ok(answer(200, &token_body(fields))))
    }

    /// Makes `url` answer this from now on.
    pub(crate) fn document(&self, url: &str, status: u16, body: &str) -> &Self {
        let mut documents = self.documents.lock().unwrap();
        documents.retain(|(known, ..)| known != url);
        documents.push((url.to_owned(), status, body.to_owned()));
        drop(documents);
        self
    }

    /// Makes `url` answer nothing any more.
    pub(crate) fn silence(&self, url: &str) {
        self.documents
            .lock()
            .unwrap()
            .retain(|(known, ..)| known != url);
    }

    pub(crate) fn requests(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    pub(crate) fn asked_of(&self, part: &str) -> usize {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|one| one.url.contains(part)).count()
    }

    async fn answer(&self, asked: Asked, limit: Duration) -> Result<Answer, Lost> {
        let url = asked.url.clone();
        self.asked.lock().unwrap().push(asked);
        {
            let mut under_way = self.under_way.lock().unwrap();
            under_way.0 += 1;
            under_way.1 = under_way.1.max(under_way.0);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.under_way.lock().unwrap().0 -= 1;
        let document = {
            let documents = self.documents.lock().unwrap();
            let known = documents.iter().find(|(known, ..)| *known == url);
            known.map(|(_, status, body)| answer(*status, body))
        };
        if let Some(document) = document {
            return Ok(document);
        }
        let scripted = self.answers.lock().unwrap().pop_front();
        if let Some(answer) = scripted {
            return answer;
        }
        tokio::time::sleep(limit).await;
        Err(Lost::AnswerTimeout)
    }
}

#[async_trait]
impl Transport for Script {
    async fn send(&self, request: Request, limit: Duration) -> Result<Answer, Lost> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let body = request.body.as_ref().map(|body| text(body));
        let asked = Asked {
            url: request.url.to_string(),
            authorization: request.header(&AUTHORIZATION).map(text),
            form: body.unwrap_or_default(),
        };
        self.answer(asked, limit).await
    }
}

pub(crate) fn answer(status: u16, body: &str) -> Answer {
    answer_with(status, &[(CONTENT_TYPE, "application/json")], body)
}

pub(crate) fn answer_with(status: u16, headers: &[(HeaderName, &str)], body: &str) -> Answer {
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| (name.clone(), value.parse().unwrap()))
        .collect();
    Answer {
        status,
        headers: Headers::from(&headers),
        body: Body(Zeroizing::new(body.as_bytes().to_vec())),
    }
}

pub(crate) fn token_body(fields: &str) -> String {
    format!(r#"{{"access_token":"{TOKEN}","token_type":"Bearer"{fields}}}"#)
}

/// A log that keeps everything, in this thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    pub(crate) fn start() -> (Self, tracing::subscriber::DefaultGuard) {
        let captured = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(captured.clone())
            .with_ansi(false)
            .finish();
        let guard = tracing::subscriber::set_default(subscriber);
        (captured, guard)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Captured {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
