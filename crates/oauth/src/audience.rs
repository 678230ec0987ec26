//! How a request says for whom the token is.
//!
//! Owns the spellings that issuers want for the same thing: RFC 8707's `resource`, one `resource`, a scope made of it,
//! `audience`, or nothing; and what each of them cannot say. Pure. The configuration refuses that when it is read; what gets
//! here all the same is refused before a request is made, because a token for the wrong audience is worse than none.

use std::borrow::Cow;

use crate::{AudienceStyle, ErrorKind, TokenSettings};
use claviger_oauth_wire::Scopes;
use claviger_oauth_wire::request::Form;

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
    /// Whether the style can say what the token is for.
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
    /// Whether a token with these resources, this audience and these scopes can be asked for in this style.
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
fn default_scope(resources: &[String]) -> Result<Scopes, AudienceFlaw> {
    let resource = resources.first().ok_or(AudienceFlaw::NotOneResource)?;
    Scopes::new([format!("{resource}/.default")]).map_err(|_invalid| AudienceFlaw::NoScope)
}

/// The request of the client credentials grant for `token` with these scopes, without client authentication.
pub(crate) fn client_credentials(
    token: &TokenSettings,
    scopes: &Scopes,
) -> Result<Form, ErrorKind> {
    let refused = |_flaw| ErrorKind::InvalidTarget;
    token.check_audience().map_err(refused)?;
    let mut sent = Cow::Borrowed(scopes);
    let audience = token.audience.as_deref();
    let (resources, audience) = match token.audience_style {
        AudienceStyle::Rfc8707 | AudienceStyle::ResourceV1 => {
            (token.resources.as_slice(), audience)
        }
        // The one scope stands for everything that the client may do. Who may do less must not get it.
        AudienceStyle::ScopeDefault if !scopes.is_empty() => return Err(ErrorKind::InvalidScope),
        AudienceStyle::ScopeDefault => {
            sent = Cow::Owned(default_scope(&token.resources).map_err(refused)?);
            (&[][..], None)
        }
        AudienceStyle::Audience => {
            let resource = token.resources.first().map(String::as_str);
            (&[][..], audience.or(resource))
        }
        AudienceStyle::None => (&[][..], None),
    };
    Ok(Form::client_credentials(&sent, resources, audience))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::support::{scopes, token_settings};

    fn token(style: AudienceStyle, resources: &[&str], audience: Option<&str>) -> TokenSettings {
        TokenSettings {
            scopes: Scopes::none(),
            resources: resources.iter().map(|one| (*one).to_owned()).collect(),
            audience: audience.map(str::to_owned),
            audience_style: style,
            ..token_settings()
        }
    }

    fn sent(token: &TokenSettings, wish: &str) -> Result<String, ErrorKind> {
        let form = client_credentials(token, &scopes(wish))?;
        let text = String::from_utf8(form.into_bytes().to_vec()).unwrap();
        let text = text.strip_prefix("grant_type=client_credentials").unwrap();
        Ok(text.trim_start_matches('&').to_owned())
    }

    #[test]
    fn each_style_has_its_spelling() {
        use AudienceStyle::{Audience, None as Nothing, ResourceV1, Rfc8707, ScopeDefault};
        let (one, two) = (
            &["https://a.example"][..],
            &["https://a.example", "urn:b"][..],
        );
        let encoded = "https%3A%2F%2Fa.example";
        for (style, resources, audience, wish, expected) in [
            (Rfc8707, &[][..], None, "r", "scope=r".to_owned()),
            (
                Rfc8707,
                two,
                Some("aud"),
                "r",
                format!("scope=r&resource={encoded}&resource=urn%3Ab&audience=aud"),
            ),
            (ResourceV1, one, None, "", format!("resource={encoded}")),
            (
                ResourceV1,
                one,
                None,
                "r",
                format!("scope=r&resource={encoded}"),
            ),
            (
                ScopeDefault,
                one,
                None,
                "",
                format!("scope={encoded}%2F.default"),
            ),
            (
                ScopeDefault,
                &["https://vault.example/"],
                None,
                "",
                "scope=https%3A%2F%2Fvault.example%2F%2F.default".to_owned(),
            ),
            (Audience, one, None, "", format!("audience={encoded}")),
            (
                Audience,
                one,
                Some("aud"),
                "r",
                "scope=r&audience=aud".to_owned(),
            ),
            (Audience, two, Some("aud"), "", "audience=aud".to_owned()),
            (Nothing, two, None, "r", "scope=r".to_owned()),
        ] {
            let token = token(style, resources, audience);
            assert_eq!(token.check_audience(), Ok(()), "{style:?} {resources:?}");
            assert_eq!(sent(&token, wish), Ok(expected), "{style:?} {resources:?}");
        }
    }

    #[test]
    fn what_a_style_cannot_say_is_never_sent() {
        use AudienceFlaw::{AudienceUnsent, NoAudience, NoScope, NotOneResource};
        use AudienceStyle::{Audience, None as Nothing, ResourceV1, ScopeDefault};
        let (one, two) = (
            &["https://a.example"][..],
            &["https://a.example", "urn:b"][..],
        );
        let long = format!("https://a.example/{}", "a".repeat(250));
        for (style, resources, audience, flaw) in [
            (ResourceV1, &[][..], None, NotOneResource),
            (ResourceV1, two, None, NotOneResource),
            (ResourceV1, one, Some("aud"), AudienceUnsent),
            (ScopeDefault, &[], None, NotOneResource),
            (ScopeDefault, two, None, NotOneResource),
            (ScopeDefault, one, Some("aud"), AudienceUnsent),
            (ScopeDefault, &["https://a.example/\"x"], None, NoScope),
            (ScopeDefault, &[&long], None, NoScope),
            (Audience, &[], None, NoAudience),
            (Audience, two, None, NoAudience),
            (Nothing, one, Some("aud"), AudienceUnsent),
        ] {
            let token = token(style, resources, audience);
            assert_eq!(token.check_audience(), Err(flaw), "{style:?} {resources:?}");
            assert_eq!(sent(&token, ""), Err(ErrorKind::InvalidTarget), "{style:?}");
        }
        let scoped = TokenSettings {
            scopes: scopes("read"),
            ..token(ScopeDefault, one, None)
        };
        assert_eq!(scoped.check_audience(), Err(AudienceFlaw::OtherScopes));
        // A rule that narrows a token must not be answered with everything.
        let narrowed = sent(&token(ScopeDefault, one, None), "read");
        assert_eq!(narrowed, Err(ErrorKind::InvalidScope));
    }
}
