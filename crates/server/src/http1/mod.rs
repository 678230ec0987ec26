//! The small dialect for programs without gRPC: HTTP/1.1 (or HTTP/2) and JSON on the same sockets.
//!
//! Owns its routes:
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/token/NAME?scope=A+B&min_remaining=60` | the token, as OAuth's own JSON with a few fields more |
//! | `POST /v1/token/NAME/rejected?fingerprint=F&www_authenticate=C` | the outcome of the report |
//! | `GET /v1/secret/NAME` | the value itself, and what is known of it in headers |
//! | `GET /.well-known/oauth-authorization-server/ISSUER` | for operators: the endpoints of an issuer of the configuration |
//! | `GET /.well-known/oauth-protected-resource/TOKEN` | for operators: what the resources of a token say |
//! | `GET /health`, `GET /ready` | whether the daemon lives, and whether it can serve; for operators with the state of each token |
//!
//! The same guard, the same rules and the same errors as over gRPC ([`answers`]). Request bodies are not read.

mod answers;
mod metadata;
mod route;

use std::time::Duration;

use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use serde_json::json;
use tonic::body::Body;

use crate::answers::Problem;
use crate::context::{Context, Face};
use answers::Reply;
use claviger_core::audit::Operation;
use claviger_core::broker::{Rejection, TokenRequest, Verdict};
use claviger_core::tokens::Want;
use claviger_oauth_wire::Scopes;
use claviger_runtime::reason::Reason;
use route::Route;

pub(crate) use route::name as route_name;

/// The hosts that a request can name.
const HOSTS: [&str; 2] = ["claviger", "localhost"];

const NOT_ADDRESSED: &str = "the request is addressed to another server; its target is a path such as /v1/token/NAME, and its host `claviger` or `localhost`";

/// The parameters of a request for a token.
const OF_TOKEN: &[&str] = &["scope", "min_remaining", "force_refresh"];
/// The parameters of a report of a rejected token.
const OF_REPORT: &[&str] = &["scope", "fingerprint", "http_status", "www_authenticate"];

/// The status of a report that names none: the path says that the token was rejected.
const UNAUTHORIZED: u32 = 401;

/// Answers one request.
pub(crate) async fn answer(
    context: &Context,
    request: Request<Incoming>,
    welcome: Result<(), Problem>,
) -> Response<Body> {
    let query = request.uri().query().unwrap_or_default();
    let route = Route::of(request.uri().path());
    let reply = match (route, welcome) {
        _ if !is_addressed(&request) => {
            Reply::problem(&Problem::new(Reason::NotForClaviger).with_remedy(NOT_ADDRESSED))
        }
        (Some(route @ (Route::Health | Route::Ready)), welcome) => {
            match wrong(route, request.method(), query) {
                Some(wrong) => wrong,
                None if route == Route::Health => health(context),
                None => ready(context, welcome.is_ok()).await,
            }
        }
        (_, Err(problem)) => Reply::problem(&problem),
        (route, Ok(())) => match context.shared.face {
            Face::Admin => for_operators(context, route, request.method(), query).await,
            Face::Broker => for_programs(context, route, request.method(), query).await,
        },
    };
    reply.into_response()
}

/// Whether the request is addressed to this daemon and no proxy: its target is a path, and its host is one of [`HOSTS`] or
/// absent. HTTP/2 has the host in its target.
fn is_addressed<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(http::header::HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    let host = host.is_none_or(|host| HOSTS.iter().any(|known| host == known));
    let target = request.uri().authority();
    let target = target.is_none_or(|target| {
        request.version() == Version::HTTP_2 && HOSTS.contains(&target.as_str())
    });
    host && second.is_none() && target
}

fn no_parameters() -> Reply {
    let remedy = "this path has no parameters; leave the query out";
    Reply::problem(&Problem::new(Reason::InvalidRequest).with_remedy(remedy))
}

/// The refusal of a request whose method or query its route does not take, for routes without parameters.
fn wrong(route: Route<'_>, method: &Method, query: &str) -> Option<Reply> {
    if method != route.method() {
        return Some(Reply::method(route.method()));
    }
    (!query.is_empty()).then(no_parameters)
}

/// The answer to a request that is refused before it is routed.
pub(crate) fn refuse(problem: &Problem) -> Response<Body> {
    Reply::problem(problem).into_response()
}

/// The label of the reason in an answer of this dialect; `None` if the answer is not a refusal or failure.
pub(crate) fn failure(response: &Response<Body>) -> Option<&'static str> {
    let reason: &Reason = response.extensions().get()?;
    Some(reason.label())
}

fn no_such_path(remedy: &'static str) -> Reply {
    Reply::problem(&Problem::new(Reason::NoSuchPath).with_remedy(remedy))
}

/// The paths of the broker socket.
async fn for_programs(
    context: &Context,
    route: Option<Route<'_>>,
    method: &Method,
    query: &str,
) -> Reply {
    match route {
        Some(route @ (Route::Token(_) | Route::Rejected(_))) if method != route.method() => {
            Reply::method(route.method())
        }
        Some(Route::Token(name)) => get_token(context, name, query).await,
        Some(Route::Rejected(name)) => rejected(context, name, query).await,
        Some(route @ Route::Secret(name)) => match wrong(route, method, query) {
            Some(wrong) => wrong,
            None => get_secret(context, name).await,
        },
        Some(Route::Health | Route::Ready | Route::Issuer(_) | Route::Resource(_)) | None => {
            no_such_path(
                "there are /v1/token/NAME, /v1/token/NAME/rejected, /v1/secret/NAME, /health and /ready",
            )
        }
    }
}

/// The paths of the admin socket. Other requests of operators use gRPC.
async fn for_operators(
    context: &Context,
    route: Option<Route<'_>>,
    method: &Method,
    query: &str,
) -> Reply {
    let Some(route @ (Route::Issuer(segment) | Route::Resource(segment))) = route else {
        return no_such_path(
            "there are /.well-known/oauth-authorization-server/ISSUER, /.well-known/oauth-protected-resource/TOKEN, /health and /ready; else operators use `claviger` or gRPC, and programs the broker socket",
        );
    };
    if let Some(wrong) = wrong(route, method, query) {
        return wrong;
    }
    let name = match name(segment) {
        Ok(name) => name,
        Err(problem) => return Reply::problem(&problem),
    };
    context.note_name(name);
    let overview = context
        .shared
        .broker
        .operate(
            &context.session,
            Operation::Metadata,
            name,
            |_world| async { context.shared.operator.overview() },
        )
        .await;
    match overview {
        Err(error) => Reply::problem(&Problem::of(&error)),
        Ok(overview) if matches!(route, Route::Issuer(_)) => metadata::of_issuer(&overview, name),
        Ok(overview) => metadata::of_token(&overview, name),
    }
}

/// How the daemon does: at this moment for operators, a moment ago for the many others who may ask.
fn verdict(context: &Context) -> Verdict {
    match context.shared.face {
        Face::Admin => context.shared.broker.verdict(),
        Face::Broker => context.shared.broker.recent_verdict(),
    }
}

/// Status 200 while the daemon answers at all; the body says whether issuers gave tokens so far. Every peer may ask, so it is read
/// from memory.
fn health(context: &Context) -> Reply {
    let Verdict { ready, contact } = verdict(context);
    let timestamp = context.shared.clock.now().wall.as_secs();
    let oauth = contact.as_str();
    let status = if ready { "healthy" } else { "unhealthy" };
    Reply::json(
        StatusCode::OK,
        &json!({ "status": status, "oauth": oauth, "timestamp": timestamp }),
    )
}

/// Whether everything can be served; on the admin socket also which tokens. A request without the
/// claviger header is not given the names.
async fn ready(context: &Context, meant: bool) -> Reply {
    let broker = &context.shared.broker;
    let ready = verdict(context).ready;
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let mut body = json!({ "ready": ready });
    if meant && context.shared.face == Face::Admin {
        let readiness = broker
            .operate(
                &context.session,
                Operation::Readiness,
                "",
                |world| async move { world.tokens.readiness() },
            )
            .await;
        if let (Ok(tokens), Some(body)) = (readiness, body.as_object_mut()) {
            body.insert("tokens".to_owned(), answers::readiness(&tokens));
        }
    }
    Reply::json(status, &body)
}

/// What a query can say.
#[derive(Debug, Default)]
struct Query {
    scopes: Vec<String>,
    min_remaining: Duration,
    force_refresh: bool,
    fingerprint: String,
    http_status: Option<u32>,
    www_authenticate: String,
}

impl Query {
    /// Reads a query of a path that has `parameters`; any other one is refused rather than ignored.
    fn read(text: &str, parameters: &[&str]) -> Result<Self, Problem> {
        let mut query = Self::default();
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            if !parameters.contains(&&*name) {
                let remedy = format!("the parameters of this path are {}", parameters.join(", "));
                return Err(Problem::new(Reason::InvalidRequest).with_remedy(remedy));
            }
            match &*name {
                "scope" => query
                    .scopes
                    .extend(value.split_ascii_whitespace().map(str::to_owned)),
                "min_remaining" => {
                    let seconds = value.parse().map_err(|_not_a_number| {
                        Problem::invalid("min_remaining", "min_remaining is a number of seconds")
                    })?;
                    query.min_remaining = Duration::from_secs(seconds);
                }
                "force_refresh" => match &*value {
                    "true" => query.force_refresh = true,
                    "false" => query.force_refresh = false,
                    _ => {
                        let remedy = "force_refresh is true or false";
                        return Err(Problem::invalid("force_refresh", remedy));
                    }
                },
                "fingerprint" => query.fingerprint = value.into_owned(),
                "http_status" => {
                    let status = value.parse().map_err(|_not_a_number| {
                        Problem::invalid("http_status", "http_status is a status of HTTP")
                    })?;
                    query.http_status = Some(status);
                }
                _ => query.www_authenticate = value.into_owned(),
            }
        }
        Ok(query)
    }

    fn scopes(&self) -> Result<Scopes, Problem> {
        Scopes::new(&self.scopes)
            .map_err(|_invalid| Problem::invalid("scope", "scope is not a list of scopes"))
    }
}

/// A name as it stands in a path. Names need no escaping, so an escape is a mistake or a trick.
fn name(segment: &str) -> Result<&str, Problem> {
    if segment.is_empty() || segment.len() > 256 || segment.contains('%') {
        return Err(Problem::invalid(
            "name",
            "the path ends in a name of the daemon's configuration, unescaped",
        ));
    }
    Ok(segment)
}

async fn get_token(context: &Context, segment: &str, query: &str) -> Reply {
    let read = || {
        let name = name(segment)?;
        context.note_name(name);
        let query = Query::read(query, OF_TOKEN)?;
        let want = Want {
            min_remaining: query.min_remaining,
            force_refresh: query.force_refresh,
            deadline: context.shared.settings.limits.request,
        };
        Ok(TokenRequest {
            name: name.to_owned(),
            scopes: query.scopes()?,
            want,
        })
    };
    match read() {
        Err(problem) => Reply::problem(&problem),
        Ok(request) => {
            let outcome = context
                .shared
                .broker
                .token(&context.session, &request)
                .await;
            outcome.map_or_else(
                |error| Reply::problem(&Problem::of(&error)),
                |answer| {
                    context.note_cache(answer.freshness);
                    answers::token(&answer)
                },
            )
        }
    }
}

async fn rejected(context: &Context, segment: &str, query: &str) -> Reply {
    context.note_name(segment);
    let read = || {
        let query = Query::read(query, OF_REPORT)?;
        let scopes = query.scopes()?;
        if query.fingerprint.is_empty() {
            return Err(Problem::invalid(
                "fingerprint",
                "give the fingerprint of the rejected token, as its answer had it, in the query: ?fingerprint=F",
            ));
        }
        Ok(Rejection {
            name: name(segment)?.to_owned(),
            scopes,
            fingerprint: query.fingerprint,
            http_status: query.http_status.unwrap_or(UNAUTHORIZED),
            challenge: query.www_authenticate,
        })
    };
    let rejection = match read() {
        Ok(rejection) => rejection,
        Err(problem) => return Reply::problem(&problem),
    };
    let broker = &context.shared.broker;
    match broker.report_rejected(&context.session, &rejection).await {
        Ok(report) => answers::report(&report),
        Err(error) => Reply::problem(&Problem::of(&error)),
    }
}

async fn get_secret(context: &Context, segment: &str) -> Reply {
    context.note_name(segment);
    match name(segment) {
        Err(problem) => Reply::problem(&problem),
        Ok(name) => {
            let outcome = context.shared.broker.secret(&context.session, name).await;
            outcome.map_or_else(
                |error| Reply::problem(&Problem::of(&error)),
                |reading| {
                    context.note_cache(reading.freshness);
                    answers::secret(&reading)
                },
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read_whole_or_refused() {
        let query = Query::read(
            "scope=read+write&scope=more&min_remaining=60&force_refresh=true",
            OF_TOKEN,
        )
        .unwrap();
        assert_eq!(query.scopes, ["read", "write", "more"]);
        assert_eq!(query.min_remaining, Duration::from_mins(1));
        assert!(query.force_refresh);
        for bad in [
            "min_remaining=x",
            "min_remaining=-1",
            "force_refresh=1",
            "scopes=a",
            "fingerprint=x",
            "a",
        ] {
            assert!(Query::read(bad, OF_TOKEN).is_err(), "{bad}");
        }
        for bad in ["http_status=unauthorized", "min_remaining=1"] {
            assert!(Query::read(bad, OF_REPORT).is_err(), "{bad}");
        }
        let odd = Query::read("scope=a%22", OF_TOKEN).unwrap();
        assert!(odd.scopes().is_err());
    }

    #[test]
    fn names_are_taken_as_they_are() {
        assert_eq!(name("billing-api"), Ok("billing-api"));
        for bad in ["", "a%2e", &"x".repeat(257)] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }
}
