//! Bodies of requests to issuers.
//!
//! Owns the one media type that OAuth requests have, `application/x-www-form-urlencoded`. A body may hold a client secret or
//! a token, so it grows only by copying into larger room and wiping the old one, and wipes itself when dropped.

use zeroize::Zeroizing;

use crate::Scopes;

/// A form that wipes itself.
pub struct Form(Zeroizing<Vec<u8>>);

impl Form {
    /// The request of the client credentials grant (RFC 6749 §4.4.2), with resource indicators (RFC 8707 §2) and Auth0's
    /// `audience`. Client authentication is not in it.
    #[must_use]
    pub fn client_credentials(
        scopes: &Scopes,
        resources: &[String],
        audience: Option<&str>,
    ) -> Self {
        let mut form = Self::empty();
        form.push("grant_type", b"client_credentials");
        if !scopes.is_empty() {
            form.push("scope", scopes.to_string().as_bytes());
        }
        for resource in resources {
            form.push("resource", resource.as_bytes());
        }
        if let Some(audience) = audience {
            form.push("audience", audience.as_bytes());
        }
        form
    }

    /// The request that revokes an access token (RFC 7009 §2.1). Client authentication is not in it.
    #[must_use]
    pub fn revocation(token: &[u8]) -> Self {
        let mut form = Self::empty();
        form.push("token", token);
        form.push("token_type_hint", b"access_token");
        form
    }

    /// Adds a parameter.
    pub fn push(&mut self, name: &'static str, value: &[u8]) {
        let needed = name.len().saturating_add(value.len().saturating_mul(3));
        self.reserve(needed.saturating_add(2));
        if !self.0.is_empty() {
            self.0.push(b'&');
        }
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'=');
        form_encode(&mut self.0, value);
    }

    /// The encoded form.
    #[must_use]
    pub fn into_bytes(self) -> Zeroizing<Vec<u8>> {
        self.0
    }

    /// A form without parameters.
    #[must_use]
    pub fn empty() -> Self {
        Self(Zeroizing::new(Vec::with_capacity(512)))
    }

    fn reserve(&mut self, more: usize) {
        let needed = self.0.len().saturating_add(more);
        if needed > self.0.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity(needed.saturating_mul(2)));
            larger.extend_from_slice(&self.0);
            self.0 = larger;
        }
    }
}

/// Prints the length only.
impl std::fmt::Debug for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Form([{} bytes])", self.0.len())
    }
}

/// Appends `value` as RFC 6749 appendix B encodes it. Room for three times its length keeps `out` from moving.
fn form_encode(out: &mut Vec<u8>, value: &[u8]) {
    for piece in form_urlencoded::byte_serialize(value) {
        out.extend_from_slice(piece.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(form: Form) -> String {
        String::from_utf8(form.into_bytes().to_vec()).unwrap()
    }

    #[test]
    fn parameters_in_a_fixed_order_and_encoded() {
        let scopes = Scopes::new(["write:b", "read"]).unwrap();
        let resources = ["https://a.example/x".to_owned(), "urn:b".to_owned()];
        let mut form = Form::client_credentials(&scopes, &resources, Some("api & co"));
        form.push("client_secret", b"a+b=c&d\xFF");
        assert_eq!(
            text(form),
            "grant_type=client_credentials&scope=read+write%3Ab\
             &resource=https%3A%2F%2Fa.example%2Fx&resource=urn%3Ab\
             &audience=api+%26+co&client_secret=a%2Bb%3Dc%26d%FF"
        );
        let plain = Form::client_credentials(&Scopes::none(), &[], None);
        assert_eq!(text(plain), "grant_type=client_credentials");
    }

    #[test]
    fn long_values_fit_and_debug_hides_them() {
        let token = vec![b'%'; 20_000];
        let form = Form::revocation(&token);
        assert_eq!(format!("{form:?}"), "Form([60035 bytes])");
        assert!(text(form).ends_with("%25&token_type_hint=access_token"));
    }
}
