//! The client credentials grant (RFC 6749 §4.4).
//!
//! Owns its form: scopes, and the audience in the token's style. A combination that the style cannot express is refused before
//! a request is made, because a token for the wrong audience is worse than none.

use std::borrow::Cow;

use crate::audience::default_scope;
use crate::{AudienceStyle, ErrorKind, TokenSettings};
use claviger_oauth_wire::Scopes;
use claviger_oauth_wire::request::Form;

/// The request of the client credentials grant for `token` with these scopes, without client authentication.
pub(super) fn form(token: &TokenSettings, scopes: &Scopes) -> Result<Form, ErrorKind> {
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
    use crate::AudienceFlaw;
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

    fn sent(token: &TokenSettings, asked: &str) -> Result<String, ErrorKind> {
        let sent = form(token, &scopes(asked))?;
        let text = String::from_utf8(sent.into_bytes().to_vec()).unwrap();
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
        for (style, resources, audience, asked, expected) in [
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
            assert_eq!(sent(&token, asked), Ok(expected), "{style:?} {resources:?}");
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
