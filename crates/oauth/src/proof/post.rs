//! `client_secret_post` (RFC 6749 §2.3.1).

use async_trait::async_trait;

use super::Proof;
use crate::ErrorKind;
use crate::request::FormRequest;
use crate::values::Values;

/// Puts identifier and secret into the form.
#[derive(Debug)]
pub(super) struct Post;

#[async_trait]
impl Proof for Post {
    fn method(&self) -> &'static str {
        "client_secret_post"
    }

    async fn prove(&self, request: &mut FormRequest, values: &Values) -> Result<(), ErrorKind> {
        request.form.push("client_id", values.id());
        request.form.push("client_secret", values.secret());
        Ok(())
    }
}
