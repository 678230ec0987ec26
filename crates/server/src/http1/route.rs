//! The routes of the HTTP dialect.
//!
//! Owns the one reading of a path, for answers and for records. Never checks a name or a parameter: `http1` does.

use http::Request;

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route<'a> {
    Health,
    Ready,
    Token(&'a str),
    Rejected(&'a str),
    Secret(&'a str),
    /// The metadata of an issuer, for operators.
    Issuer(&'a str),
    /// The metadata of a token's resources, for operators.
    Resource(&'a str),
}

impl<'a> Route<'a> {
    /// The route of a path; `None` if there is none.
    pub(super) fn of(path: &'a str) -> Option<Self> {
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        Some(match segments.as_slice() {
            ["health"] => Self::Health,
            ["ready"] => Self::Ready,
            ["v1", "token", name] => Self::Token(name),
            ["v1", "token", name, "rejected"] => Self::Rejected(name),
            ["v1", "secret", name] => Self::Secret(name),
            [".well-known", "oauth-authorization-server", name] => Self::Issuer(name),
            [".well-known", "oauth-protected-resource", name] => Self::Resource(name),
            _ => return None,
        })
    }

    /// The only method that it takes.
    pub(super) fn method(self) -> &'static str {
        match self {
            Self::Rejected(_) => "POST",
            Self::Health
            | Self::Ready
            | Self::Token(_)
            | Self::Secret(_)
            | Self::Issuer(_)
            | Self::Resource(_) => "GET",
        }
    }

    /// Its path, with a word in place of the name that the peer wrote.
    fn template(self) -> &'static str {
        match self {
            Self::Health => "/health",
            Self::Ready => "/ready",
            Self::Token(_) => "/v1/token/NAME",
            Self::Rejected(_) => "/v1/token/NAME/rejected",
            Self::Secret(_) => "/v1/secret/NAME",
            Self::Issuer(_) => "/.well-known/oauth-authorization-server/ISSUER",
            Self::Resource(_) => "/.well-known/oauth-protected-resource/TOKEN",
        }
    }
}

/// The method and path of a request, as records name it; `None` if there is no such route, or it takes another method.
pub(crate) fn name<B>(request: &Request<B>) -> Option<String> {
    let route = Route::of(request.uri().path())?;
    (request.method() == route.method()).then(|| format!("{} {}", route.method(), route.template()))
}
