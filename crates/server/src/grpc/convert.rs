//! Between the daemon's own types and those on the wire.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use claviger_proto::v1;

use crate::answers::{self, Problem};
use claviger_core::audit::Released;
use claviger_core::secrets::{Freshness, Reading};
use claviger_core::tokens::{Held, Report, Revoked};
use claviger_oauth_wire::{InvalidScope, Scopes};
use claviger_runtime::clock::Moment;
use claviger_runtime::reason::Reason;

/// The longest name that a configuration can have, with room to spare: longer ones cannot exist.
const LONGEST_NAME: usize = 256;

pub(crate) fn freshness(freshness: Freshness) -> v1::Freshness {
    match freshness {
        Freshness::Fresh => v1::Freshness::Fresh,
        Freshness::Refreshed => v1::Freshness::Refreshed,
        Freshness::Stale => v1::Freshness::Stale,
    }
}

/// A duration on the wire, rounded down to seconds.
pub(crate) fn seconds(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: 0,
    }
}

/// A time since the epoch on the wire.
pub(crate) fn timestamp(since_epoch: Duration) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since_epoch.subsec_nanos()).unwrap_or(0),
    }
}

pub(crate) fn system_time(time: SystemTime) -> prost_types::Timestamp {
    timestamp(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

pub(crate) fn moment(moment: Moment) -> prost_types::Timestamp {
    timestamp(moment.wall)
}

/// The part of a token's answer that is the same for every caller.
pub(crate) fn token_constant(held: &Held) -> v1::GetTokenResponse {
    v1::GetTokenResponse {
        access_token: answers::token_text(held),
        token_type: held.token_type().to_owned(),
        expires_at: Some(timestamp(held.expires().wall())),
        scopes: held.scopes().iter().map(str::to_owned).collect(),
        generation: held.generation(),
        fingerprint: held.fingerprint().to_owned(),
        lifetime_left: None,
        freshness: 0,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the answer that the permit entitles the peer to"
)]
pub(crate) fn secret(reading: &Released<Reading>) -> v1::GetSecretResponse {
    v1::GetSecretResponse {
        value: reading.version.value.expose().to_vec(),
        version: reading.version.id.to_string(),
        generation: reading.version.generation,
        confirmed_at: Some(moment(reading.confirmed)),
        age: Some(seconds(reading.age)),
        freshness: freshness(reading.freshness).into(),
        lifetime_left: Some(seconds(reading.lifetime_left)),
    }
}

/// The outcome of a report.
pub(crate) fn report(report: &Released<Report>) -> v1::ReportRejectedResponse {
    use v1::report_rejected_response::Outcome;
    let outcome = match **report {
        Report::Dropped => Outcome::Dropped,
        Report::Superseded => Outcome::Superseded,
        Report::NotTheToken => Outcome::NotTheToken,
    };
    v1::ReportRejectedResponse {
        outcome: outcome.into(),
    }
}

/// The outcome of a revocation.
pub(crate) fn revoked(revoked: &Released<Revoked>) -> v1::RevokeTokenResponse {
    use v1::revoke_token_response::Outcome;
    let (outcome, until) = match &**revoked {
        Revoked::NothingHeld => (Outcome::NothingHeld, None),
        Revoked::Revoked => (Outcome::Revoked, None),
        Revoked::Unsupported { until } => (Outcome::Unsupported, Some(until)),
        Revoked::Refused { until, .. } => (Outcome::Refused, Some(until)),
        Revoked::Failed { until, .. } => (Outcome::Failed, Some(until)),
    };
    let problem = match revoked.error() {
        Some(error) => Some(Problem::of(error)),
        None if outcome == Outcome::Failed => Some(Problem::new(Reason::Stopping)),
        None => None,
    };
    let reason = problem.as_ref().map_or("", |problem| problem.reason.word());
    v1::RevokeTokenResponse {
        outcome: outcome.into(),
        valid_until: until.map(|until| timestamp(until.wall())),
        reason: reason.to_owned(),
        remedy: problem.map_or_else(String::new, |problem| problem.remedy.into_owned()),
    }
}

/// Checks a name from a request. What it names is for policy to say.
pub(crate) fn name(name: &str) -> Result<&str, Problem> {
    match name.len() {
        0 => Err(Problem::invalid(
            "name",
            "give the name of a token or secret of the daemon's configuration",
        )),
        1..=LONGEST_NAME => Ok(name),
        _ => Err(Problem::invalid(
            "name",
            "too long to be a name of the configuration",
        )),
    }
}

/// Checks that a report says which token was rejected. Without that it would be answered, and do nothing.
pub(crate) fn fingerprint(fingerprint: String) -> Result<String, Problem> {
    if fingerprint.is_empty() {
        let problem = "give the fingerprint of the rejected token, as its answer had it";
        return Err(Problem::invalid("fingerprint", problem));
    }
    Ok(fingerprint)
}

pub(crate) fn scopes<S: AsRef<str>>(
    scopes: impl IntoIterator<Item = S>,
) -> Result<Scopes, Problem> {
    Scopes::new(scopes).map_err(|error| {
        let problem = match error {
            InvalidScope::Token => {
                "a scope is printable ASCII without spaces, quotes and backslashes"
            }
            InvalidScope::TooMany => "too many scopes",
        };
        Problem::invalid("scopes", problem)
    })
}

/// The duration in `field` of a request; absent means zero.
pub(crate) fn duration(
    field: &'static str,
    duration: Option<prost_types::Duration>,
) -> Result<Duration, Problem> {
    let Some(prost_types::Duration { seconds, nanos }) = duration else {
        return Ok(Duration::ZERO);
    };
    match (u64::try_from(seconds), u32::try_from(nanos)) {
        (Ok(seconds), Ok(nanos)) if nanos < 1_000_000_000 => Ok(Duration::new(seconds, nanos)),
        _ => Err(Problem::invalid(field, "a duration must not be negative")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_that_is_not_valid_is_blamed_on_its_field() {
        let of = |seconds, nanos| prost_types::Duration { seconds, nanos };
        for wrong in [of(-1, 0), of(0, -1), of(0, 1_000_000_000)] {
            let problem = duration("overlap", Some(wrong)).unwrap_err();
            assert_eq!(problem.field, Some("overlap"));
        }
        assert_eq!(duration("overlap", None), Ok(Duration::ZERO));
    }
}
