//! What a caller learns when a request fails, the same in both dialects.
//!
//! Owns [`Problem`]: the reason, the remedy and the time to retry of one failed request. Of what a
//! backend or an issuer said only checked facts get in here, such as an identifier in metadata, and nothing of policy. Reasons come from `claviger_runtime::reason`, the only place that makes them;
//! `grpc::status` and `http1::answers` put a problem on the wire.

use std::borrow::Cow;
use std::time::Duration;

use claviger_core::tokens::Held;
use claviger_runtime::reason::{Reason, Reasoned, RpcCode};

/// Why one request failed, as its caller learns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) reason: Reason,
    pub(crate) remedy: Cow<'static, str>,
    /// The field of the request that is at fault.
    pub(crate) field: Option<&'static str>,
    /// When the daemon itself tries again.
    pub(crate) retry_in: Option<Duration>,
}

impl Problem {
    /// A problem with the remedy of the table.
    pub(crate) fn new(reason: Reason) -> Self {
        Self {
            reason,
            remedy: Cow::Borrowed(reason.remedy()),
            field: None,
            retry_in: None,
        }
    }

    /// What the caller learns of an error.
    pub(crate) fn of(error: &impl Reasoned) -> Self {
        let reason = error.reason();
        // FAILED_PRECONDITION says not to retry before something is changed.
        let retry_in = error
            .retry_in()
            .filter(|_| reason.code() != RpcCode::FailedPrecondition);
        let remedy = match error.detail().fact {
            Some(fact) => format!("{} ({fact})", error.remedy()).into(),
            None => Cow::Borrowed(error.remedy()),
        };
        Self {
            remedy,
            retry_in,
            ..Self::new(reason)
        }
    }

    /// A request of which one field is not valid.
    pub(crate) fn invalid(field: &'static str, remedy: &'static str) -> Self {
        Self {
            field: Some(field),
            ..Self::new(Reason::InvalidRequest).with_remedy(remedy)
        }
    }

    /// Too many open requests.
    pub(crate) fn crowded() -> Self {
        Self {
            retry_in: Some(Duration::from_secs(1)),
            ..Self::new(Reason::TooManyRequests)
        }
    }

    /// The same with a more specific remedy.
    pub(crate) fn with_remedy(self, remedy: impl Into<Cow<'static, str>>) -> Self {
        Self {
            remedy: remedy.into(),
            ..self
        }
    }

    /// How long to wait, in whole seconds rounded up.
    pub(crate) fn retry_seconds(&self) -> Option<u64> {
        let retry_in = self.retry_in?;
        let partial = u64::from(retry_in.subsec_nanos() > 0);
        Some(retry_in.as_secs().saturating_add(partial))
    }
}

/// The token itself, for the answer that is being written.
#[expect(
    clippy::disallowed_methods,
    reason = "the answer that the permit entitles the peer to"
)]
pub(crate) fn token_text(held: &Held) -> String {
    // Tokens are checked to be printable ASCII when they arrive, so nothing is lost here.
    String::from_utf8_lossy(held.access_token().expose()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Failed(Reason);

    impl Reasoned for Failed {
        fn reason(&self) -> Reason {
            self.0
        }

        fn retry_in(&self) -> Option<Duration> {
            Some(Duration::from_millis(1500))
        }
    }

    #[test]
    fn only_what_the_daemon_tries_again_has_a_time_to_retry() {
        let outage = Problem::of(&Failed(Reason::Unreachable));
        assert_eq!(outage.retry_seconds(), Some(2));
        for reason in [Reason::InvalidClient, Reason::Untrusted] {
            assert_eq!(Problem::of(&Failed(reason)).retry_in, None, "{reason:?}");
        }
    }
}
