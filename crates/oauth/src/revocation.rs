//! Token revocation (RFC 7009).
//!
//! Owns the revocation request and what its answers mean. `tokens` drops the token before; this is for the resource servers
//! that would still accept it.

use std::time::Duration;

use claviger_backend::Secret;
use url::Url;
use zeroize::Zeroizing;

use crate::attempts::Attempts;
use crate::client::TokenClient;
use crate::credential::Generation;
use crate::failed::Failed;
use crate::request::FormRequest;
use crate::said::said;
use crate::{ErrorKind, Revocation, outcome};
use claviger_oauth_wire::request::Form;
use claviger_oauth_wire::response::{self, ErrorCode, Failure, Flaw};
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
            Err(failed) => return Revocation::Failed(self.issuer.error(&failed)),
        };
        let mut attempts = Attempts::new(&*self.issuer.clock, RETRIES, LIMIT).patient();
        loop {
            let (failed, answered) = match self.revoke_once(&url, token).await {
                Ok((answer, sent)) => match self.settled(&answer) {
                    Ok(revocation) => return revocation,
                    Err(mut refused) => {
                        refused.detail.said = said(&answer, &sent);
                        (refused, true)
                    }
                },
                Err(failed) => (failed, false),
            };
            let final_answer = answered && !failed.again;
            if !final_answer && attempts.pause(failed.kind.retry_after()).await {
                continue;
            }
            let error = self.issuer.error(&failed);
            return if answered {
                Revocation::Refused(error)
            } else {
                Revocation::Failed(error)
            };
        }
    }

    /// What an answer means.
    ///
    /// # Errors
    /// If it is an error, with whether it may be another one in a moment.
    fn settled(&self, answer: &Answer) -> Result<Revocation, Failed> {
        let code = response::error_in(answer.header(&CONTENT_TYPE), &answer.body.0);
        let flaw = match code {
            // The token is invalid already, which is what was wanted (Google answers so).
            Some(ErrorCode::InvalidToken) => return Ok(Revocation::Revoked),
            Some(ErrorCode::UnsupportedTokenType) => return Ok(Revocation::Unsupported),
            Some(code) => Flaw::Refused(code),
            None if (200..300).contains(&answer.status) => return Ok(Revocation::Revoked),
            None => Flaw::Status { html: false },
        };
        let failure = Failure {
            flaw,
            status: answer.status,
            body_bytes: answer.body.0.len(),
        };
        let kind = outcome::failure(failure, answer, self.issuer.clock.now().wall);
        Err(Failed {
            again: outcome::is_transient(answer.status),
            ..kind.into()
        })
    }

    /// Sends one request. Returns the answer, and what was sent in secret.
    async fn revoke_once(
        &self,
        url: &Url,
        token: &Secret,
    ) -> Result<(Answer, Vec<Zeroizing<Vec<u8>>>), Failed> {
        let attempt = async {
            let slot = self.issuer.slots.acquire().await;
            let _slot = slot.map_err(|_closed| ErrorKind::Timeout)?;
            #[expect(
                clippy::disallowed_methods,
                reason = "a revocation names the token, and the form it is copied to wipes itself"
            )]
            let token = token.expose();
            let mut request = FormRequest::new(url.clone(), Form::revocation(token));
            let now = self.issuer.clock.now();
            let values = self
                .credential
                .prove(&mut request, Generation::Current, now)
                .await?;
            let answer = self
                .issuer
                .transport()
                .send(request.into_request(), ATTEMPT);
            let answer = answer.await?;
            let mut sent = values.sent();
            sent.push(Zeroizing::new(token.to_vec()));
            Ok((answer, sent))
        };
        match tokio::time::timeout(ATTEMPT, attempt).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(ErrorKind::Timeout.into()),
        }
    }
}
