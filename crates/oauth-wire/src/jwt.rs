//! The one thing that claviger reads from an access token: when it says it expires.
//!
//! An access token is the resource server's to interpret (RFC 9068 §6). Its `exp` is read only where the issuer named no
//! lifetime, without verifying anything: a wrong one can make claviger renew too early or keep an expired token for at most the
//! configured longest lifetime, and the issuer that lies could do both anyway.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::number::Number;

#[derive(Deserialize)]
struct Claims {
    exp: Number,
}

/// The `exp` claim of a JWT (RFC 7519 §4.1.4) in seconds since the Unix epoch, unverified. `None` for anything else.
#[must_use]
pub fn expiry(token: &[u8]) -> Option<u64> {
    let mut parts = token.split(|&byte| byte == b'.');
    let (_header, claims, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let claims = claims.strip_suffix(b"==").unwrap_or(claims);
    let claims = claims.strip_suffix(b"=").unwrap_or(claims);
    let claims = Zeroizing::new(URL_SAFE_NO_PAD.decode(claims).ok()?);
    if !claims.starts_with(b"{") {
        return None;
    }
    let claims = serde_json::from_slice::<Claims>(&claims).ok()?;
    Some(claims.exp.or_zero())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(claims: &str) -> Vec<u8> {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.c2ln", part(r#"{"alg":"ES256"}"#), part(claims)).into_bytes()
    }

    #[test]
    fn only_a_readable_claim_counts() {
        for (claims, expiry_) in [
            (r#"{"exp":1767225600}"#, Some(1_767_225_600)),
            (r#"{"sub":"a","exp":1767225600.9}"#, Some(1_767_225_600)),
            (r#"{"exp":"1767225600"}"#, Some(1_767_225_600)),
            (r#"{"exp":-5}"#, Some(0)),
            (r#"{"exp":1,"exp":2}"#, None),
            (r#"{"exp":null}"#, None),
            (r#"{"exp":[]}"#, None),
            (r#"{"iat":1}"#, None),
            ("[1767225600]", None),
            ("not json", None),
            ("", None),
        ] {
            assert_eq!(expiry(&token(claims)), expiry_, "{claims}");
        }
        for other in [
            &b"opaque"[..],
            b"ya29.x",
            b"a.b.c",
            b"a.b.c.d.e",
            b"..",
            b"",
        ] {
            assert_eq!(expiry(other), None);
        }
    }

    proptest! {
        #[test]
        fn no_token_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), claims in ".{0,60}") {
            let _outcome = (expiry(&bytes), expiry(&token(&claims)));
        }
    }
}
