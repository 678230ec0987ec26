//! Token revocation (RFC 7009).
//!
//! Owns the revocation request and what its answers mean. `tokens` drops the token before; this is for the resource servers
//! that would still accept it.

use std::time::Duration;

use claviger_backend::Secret;
use url::Url;

use crate::attempts::Attempts;
use crate::client::TokenClient;
use crate::credential::Generation;
use crate::request::FormRequest;
use crate::{ErrorKind, Revocation, outcome};
use claviger_oauth_wire::request::Form;
use claviger_oauth_wire::response::{self, ErrorCode};
use claviger_outbound::http::Answer;
use claviger_outbound::http::header::CONTENT_TYPE;

/// The time limit of one attempt.
const ATTEMPT: Duration = Duration::from_secs(10);

/// How often a revocation is sent again. Repeating one is harmless.
const RETRIES: u32 = 3;

/// The time limit of all attempts.
const LIMIT: Duration = Duration::from_secs(45);

impl TokenClient {
    /// Asks the issuer to revoke an access token of this client. Ends within a minute.
    pub(super) async fn request_revocation(&self, token: &Secret) -> Revocation {
        let url = match self.issuer.revocation_endpoint(ATTEMPT).await {
            Ok(Some(url)) => url,
            Ok(None) => return Revocation::Unsupported,
            Err(_failed) => return Revocation::Failed,
        };
        let mut attempts = Attempts::new(&*self.issuer.clock, RETRIES, LIMIT).patient();
        loop {
            let (revocation, asked) = match self.revoke_once(&url, token).await {
                Ok(answer) => {
                    let now = self.issuer.clock.now().wall;
                    let asked = outcome::status(&answer, now).retry_after();
                    (meaning(&answer), asked)
                }
                Err(kind) => (None, kind.retry_after()),
            };
            match revocation {
                Some(revocation) => return revocation,
                None if attempts.pause(asked).await => {}
                None => return Revocation::Failed,
            }
        }
    }

    async fn revoke_once(&self, url: &Url, token: &Secret) -> Result<Answer, ErrorKind> {
        let attempt = async {
            let slot = self.issuer.slots.acquire().await;
            let _slot = slot.map_err(|_closed| ErrorKind::Timeout)?;
            #[expect(
                clippy::disallowed_methods,
                reason = "a revocation names the token, and the form it is copied to wipes itself"
            )]
            let form = Form::revocation(token.expose());
            let mut request = FormRequest::new(url.clone(), form);
            let now = self.issuer.clock.now();
            self.credential
                .prove(&mut request, Generation::Current, now)
                .await?;
            let sent = self
                .issuer
                .transport()
                .send(request.into_request(), ATTEMPT);
            sent.await.map_err(outcome::lost)
        };
        match tokio::time::timeout(ATTEMPT, attempt).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(ErrorKind::Timeout),
        }
    }
}

/// What an answer means; `None` if it may be another one in a moment.
fn meaning(answer: &Answer) -> Option<Revocation> {
    match response::error_in(answer.header(&CONTENT_TYPE), &answer.body.0) {
        // The token is invalid already, which is what was wanted (Google answers so).
        Some(ErrorCode::InvalidToken) => return Some(Revocation::Revoked),
        Some(ErrorCode::UnsupportedTokenType) => return Some(Revocation::Unsupported),
        Some(_) if !outcome::is_transient(answer.status) => return Some(Revocation::Failed),
        Some(_) | None => {}
    }
    match answer.status {
        200..=299 => Some(Revocation::Revoked),
        status if outcome::is_transient(status) => None,
        _ => Some(Revocation::Failed),
    }
}
