//! `client_secret_basic` (RFC 6749 §2.3.1).

use async_trait::async_trait;

use super::Proof;
use crate::ErrorKind;
use crate::request::FormRequest;
use crate::values::Values;
use claviger_oauth_wire::{BasicEncoding, basic};
use claviger_outbound::http::header::AUTHORIZATION;

/// Puts identifier and secret into `Authorization`.
#[derive(Debug)]
pub(super) struct Basic {
    /// How both halves are encoded.
    pub(super) encoding: BasicEncoding,
}

#[async_trait]
impl Proof for Basic {
    fn method(&self) -> &'static str {
        "client_secret_basic"
    }

    async fn prove(&self, request: &mut FormRequest, values: &Values) -> Result<(), ErrorKind> {
        let value = basic::authorization(values.id(), values.secret(), self.encoding);
        request.add_header(AUTHORIZATION, value);
        Ok(())
    }
}
