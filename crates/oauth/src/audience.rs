//! How a request names the audience of the token.
//!
//! Owns the spellings that issuers expect: RFC 8707's `resource`, one `resource`, a scope made of it, `audience`, or none; and
//! what each of them cannot express. Pure. The configuration refuses the latter when it is read, and this module refuses it
//! again before a request is made, because a token for the wrong audience is worse than none.

use crate::{AudienceStyle, TokenSettings};
use claviger_oauth_wire::Scopes;

/// Why a token's audience cannot be spelled in its style.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AudienceFlaw {
    /// Another number of resources than one.
    #[error("with this audience_style there is exactly one resource")]
    NotOneResource,
    /// Neither an audience nor exactly one resource.
    #[error("with this audience_style there is an audience, or else exactly one resource")]
    NoAudience,
    /// An audience, which the style does not send.
    #[error("this audience_style does not send it")]
    AudienceUnsent,
    /// Scopes beside the one that is made of the resource.
    #[error("with this audience_style the resource is the scope, and there are no others")]
    OtherScopes,
    /// A resource that cannot be part of a scope (RFC 6749 §3.3).
    #[error("this resource is too long for a scope, or has a character that no scope has")]
    NoScope,
}

impl TokenSettings {
    /// Whether the style can express the audience of the token.
    ///
    /// # Errors
    /// The first [`AudienceFlaw`].
    pub fn check_audience(&self) -> Result<(), AudienceFlaw> {
        let audience = self.audience.as_deref();
        self.audience_style
            .check(&self.resources, audience, &self.scopes)
    }
}

impl AudienceStyle {
    /// Whether a token with these resources, this audience and these scopes can be requested in this style.
    ///
    /// # Errors
    /// The first [`AudienceFlaw`].
    pub fn check(
        self,
        resources: &[String],
        audience: Option<&str>,
        scopes: &Scopes,
    ) -> Result<(), AudienceFlaw> {
        let one = resources.len() == 1;
        match self {
            Self::Rfc8707 => Ok(()),
            Self::Audience if audience.is_some() || one => Ok(()),
            Self::Audience => Err(AudienceFlaw::NoAudience),
            Self::ResourceV1 | Self::ScopeDefault if !one => Err(AudienceFlaw::NotOneResource),
            _ if audience.is_some() => Err(AudienceFlaw::AudienceUnsent),
            Self::ScopeDefault if !scopes.is_empty() => Err(AudienceFlaw::OtherScopes),
            Self::ScopeDefault => default_scope(resources).map(drop),
            Self::ResourceV1 | Self::None => Ok(()),
        }
    }
}

/// The scope that stands for all permissions at the resource. A slash at the resource's end stays and is followed by
/// another: issuers take `/.default` off and compare the rest.
pub(crate) fn default_scope(resources: &[String]) -> Result<Scopes, AudienceFlaw> {
    let resource = resources.first().ok_or(AudienceFlaw::NotOneResource)?;
    Scopes::new([format!("{resource}/.default")]).map_err(|_invalid| AudienceFlaw::NoScope)
}
