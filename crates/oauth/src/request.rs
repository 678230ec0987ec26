//! A form on its way to an endpoint of an issuer.
//!
//! Owns [`FormRequest`], which a grant fills, a proof completes and the transport sends. Its form and header values may hold
//! secrets: both are zeroed on drop and never printed. Next: `grant`, `proof`.

use std::fmt::{self, Debug, Formatter};

use url::Url;
use zeroize::Zeroizing;

use claviger_oauth_wire::request::Form;
use claviger_oauth_wire::response;
use claviger_outbound::http::Request;
use claviger_outbound::http::header::{ACCEPT, CONTENT_TYPE, HeaderName};

/// A POST of a form (RFC 6749 §3.2).
pub(crate) struct FormRequest {
    pub(crate) endpoint: Url,
    pub(crate) form: Form,
    headers: Vec<(HeaderName, Zeroizing<Vec<u8>>)>,
}

impl FormRequest {
    pub(crate) fn new(endpoint: Url, form: Form) -> Self {
        Self {
            endpoint,
            form,
            headers: Vec::new(),
        }
    }

    /// Adds a header, whose value may be a secret.
    pub(crate) fn add_header(&mut self, name: HeaderName, value: Zeroizing<Vec<u8>>) {
        self.headers.push((name, value));
    }

    /// The request as the transport sends it.
    pub(crate) fn into_request(self) -> Request {
        let request = Request::post(self.endpoint, self.form.into_bytes(), response::MAX_BODY)
            .with_text(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .with_text(ACCEPT, "application/json");
        self.headers
            .into_iter()
            .fold(request, |request, (name, value)| request.with(name, value))
    }
}

/// Prints the names of the headers only.
impl Debug for FormRequest {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.headers.iter().map(|(name, _)| name))
            .finish()
    }
}
