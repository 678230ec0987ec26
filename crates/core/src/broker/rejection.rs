//! What a report of a rejected token says.
//!
//! Owns the judgment whether a newer token could help, the same for every dialect. Resource servers write the challenge and
//! callers relay it, so it is read by the bounded parser of `claviger_oauth_wire` and never stored.

use claviger_oauth_wire::Scopes;
use claviger_oauth_wire::challenge;

/// The status with which a resource server rejects a token (RFC 6750 section 3.1).
const UNAUTHORIZED: u32 = 401;

/// A report that a resource server rejected a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The token's name.
    pub name: String,
    /// The scopes that were requested when the token was obtained.
    pub scopes: Scopes,
    /// The fingerprint of the rejected token.
    pub fingerprint: String,
    /// The HTTP status of the rejection.
    pub http_status: u32,
    /// The `WWW-Authenticate` header of the rejection; empty if there was none.
    pub challenge: String,
}

impl Rejection {
    /// Whether a newer token could be accepted: the status is 401, and no challenge for a token says that its scope or the
    /// user's authentication is what is missing.
    pub(super) fn blames_the_token(&self) -> bool {
        self.http_status == UNAUTHORIZED
            && !challenge::parse(&self.challenge)
                .iter()
                .filter(|challenge| matches!(challenge.scheme.as_str(), "bearer" | "dpop"))
                .any(|challenge| challenge.wants_more_scope() || challenge.wants_another_login())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_401_about_the_token_blames_it() {
        let long = format!(
            "Bearer realm=\"{}\", error=\"insufficient_scope\"",
            "x".repeat(2000)
        );
        for (status, challenge, blamed) in [
            (401, "", true),
            (401, "Bearer", true),
            (401, "Bearer error=\"invalid_token\"", true),
            (403, "Bearer error=\"invalid_token\"", false),
            (0, "", false),
            (
                401,
                "Bearer error=\"insufficient_scope\", scope=\"a\"",
                false,
            ),
            (401, "Bearer scope=a , error = insufficient_scope", false),
            (
                401,
                "Basic realm=x, DPoP error=\"insufficient_scope\"",
                false,
            ),
            (
                401,
                "Bearer error=\"insufficient_user_authentication\", acr_values=\"x\"",
                false,
            ),
            (401, long.as_str(), false),
            // Words of a description, or of another scheme, are no error code.
            (
                401,
                "Bearer error=\"invalid_token\", error_description=\"not insufficient_scope\"",
                true,
            ),
            (401, "Basic error=\"insufficient_scope\"", true),
            (401, "Bearer error=\"insufficient_scope", true),
        ] {
            let rejection = Rejection {
                name: "api".to_owned(),
                scopes: Scopes::none(),
                fingerprint: "hmac-sha256:00".to_owned(),
                http_status: status,
                challenge: challenge.to_owned(),
            };
            assert_eq!(rejection.blames_the_token(), blamed, "{status} {challenge}");
        }
    }
}
