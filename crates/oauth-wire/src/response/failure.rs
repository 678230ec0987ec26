//! What can be wrong with a token answer.
//!
//! Owns the closed list of OAuth error codes and that of flaws. A [`Failure`] carries a code, the status and the body's
//! length; no text of an issuer ever gets into one, because issuers quote requests in their errors.

use std::fmt;

use crate::token::TokenFlaw;

/// An OAuth error code, from the registry of RFC 6749 §11.4 as far as claviger can meet it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// RFC 6749 §5.2.
    InvalidRequest,
    /// RFC 6749 §5.2; also GitHub's `incorrect_client_credentials`.
    InvalidClient,
    /// RFC 6749 §5.2; also GitHub's `bad_verification_code` and `bad_refresh_token`.
    InvalidGrant,
    /// RFC 6749 §5.2.
    UnauthorizedClient,
    /// RFC 6749 §5.2.
    UnsupportedGrantType,
    /// RFC 6749 §5.2.
    InvalidScope,
    /// RFC 8707 §2.
    InvalidTarget,
    /// RFC 6749 §4.1.2.1: an internal error of the issuer.
    ServerError,
    /// RFC 6749 §4.1.2.1: overload or maintenance.
    TemporarilyUnavailable,
    /// RFC 6750 §3.1.
    InvalidToken,
    /// RFC 6750 §3.1.
    InsufficientScope,
    /// RFC 9470 section 3: the user must authenticate again, or better.
    InsufficientUserAuthentication,
    /// RFC 7009 §2.2.1: such tokens cannot be revoked.
    UnsupportedTokenType,
    /// RFC 9449 §8: the issuer wants proof of possession with its nonce.
    UseDpopNonce,
    /// Anything else.
    Other,
}

impl ErrorCode {
    /// The code that an issuer wrote.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        match text.trim_ascii() {
            "invalid_request" => Self::InvalidRequest,
            "invalid_client" | "incorrect_client_credentials" => Self::InvalidClient,
            "invalid_grant" | "bad_verification_code" | "bad_refresh_token" => Self::InvalidGrant,
            "unauthorized_client" => Self::UnauthorizedClient,
            "unsupported_grant_type" => Self::UnsupportedGrantType,
            "invalid_scope" => Self::InvalidScope,
            "invalid_target" => Self::InvalidTarget,
            "server_error" => Self::ServerError,
            "temporarily_unavailable" => Self::TemporarilyUnavailable,
            "invalid_token" => Self::InvalidToken,
            "insufficient_scope" => Self::InsufficientScope,
            "insufficient_user_authentication" => Self::InsufficientUserAuthentication,
            "unsupported_token_type" => Self::UnsupportedTokenType,
            "use_dpop_nonce" => Self::UseDpopNonce,
            _ => Self::Other,
        }
    }

    /// The code as the registry writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::ServerError => "server_error",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
            Self::InvalidToken => "invalid_token",
            Self::InsufficientScope => "insufficient_scope",
            Self::InsufficientUserAuthentication => "insufficient_user_authentication",
            Self::UnsupportedTokenType => "unsupported_token_type",
            Self::UseDpopNonce => "use_dpop_nonce",
            Self::Other => "other",
        }
    }
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// The issuer refused with a code.
    #[error("refused with code {}", .0.as_str())]
    Refused(ErrorCode),
    /// The status is no success, and the body has no OAuth error.
    #[error("refused without a code")]
    Status {
        /// Whether it is an HTML page: usually a gateway before the issuer answered.
        html: bool,
    },
    /// The body is longer than is read.
    #[error("too long")]
    TooLong,
    /// There is no body.
    #[error("empty")]
    Empty,
    /// An HTML page.
    #[error("an HTML page")]
    Html,
    /// Neither a JSON object nor a form.
    #[error("neither a JSON object nor a form")]
    NotAnAnswer,
    /// It begins like JSON and is none.
    #[error("malformed JSON")]
    Malformed,
    /// A parameter is there twice, so that readers could differ about its value (RFC 6749 §3.2).
    #[error("a parameter is repeated")]
    Repeated,
    /// This field has a value that cannot be understood.
    #[error("the field {0} cannot be understood")]
    Field(&'static str),
    /// There is no access token.
    #[error("no access token")]
    NoToken,
    /// There is no `token_type`.
    #[error("no token type")]
    NoTokenType,
    /// `token_type` is not `Bearer`.
    #[error("the token type is not Bearer")]
    TokenType,
    /// The access token cannot be one.
    #[error("{0}")]
    Token(TokenFlaw),
}

/// Why an answer gives no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What is wrong.
    pub flaw: Flaw,
    /// The HTTP status.
    pub status: u16,
    /// The length of the body.
    pub body_bytes: usize,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            flaw,
            status,
            body_bytes,
        } = self;
        write!(f, "status {status}, {body_bytes} bytes: {flaw}")
    }
}

impl std::error::Error for Failure {}
