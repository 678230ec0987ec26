//! `claviger revoke`.

use std::io::Write;

use clap::Args;
use claviger_proto::v1::revoke_token_response::Outcome;
use claviger_proto::v1::{RevokeTokenRequest, RevokeTokenResponse};
use serde_json::json;

use crate::cli::client::{self, BrokerArgs};
use crate::cli::{Exit, Failure, output};
use claviger_runtime::reason::Reason;

#[derive(Args, Clone, Debug)]
#[command(after_help = "\
The daemon drops the cached token in any case; the next request gets a new one. The command succeeds if the issuer confirms \
the revocation, or if no token was cached.

Examples:
  claviger revoke billing-api
  claviger revoke billing-api --scope read:invoices")]
pub(super) struct RevokeArgs {
    /// The token's name in the daemon's configuration
    name: String,
    /// The scopes with which the token was requested; may be repeated
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<String>,
    #[command(flatten)]
    broker: BrokerArgs,
}

/// Has a token revoked, and prints how that ended.
pub(super) async fn revoke(
    args: &RevokeArgs,
    as_json: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut client = client::tokens(&args.broker.socket).await?;
    let request = RevokeTokenRequest {
        name: args.name.clone(),
        scopes: args.scope.clone(),
    };
    let answer = client.revoke_token(request).await?.into_inner();
    if as_json {
        output::json(out, &describe(args, &answer))?;
    }
    let until = output::time(answer.valid_until.as_ref());
    let valid = format!("the daemon dropped the token; elsewhere it is valid until {until}");
    let reason = &answer.reason;
    let what = match answer.outcome() {
        Outcome::Revoked => "the issuer revoked the token",
        Outcome::NothingHeld => "no such token was cached",
        Outcome::Unsupported => {
            let what = format!("the issuer cannot revoke such tokens; {valid}");
            let remedy = "Give the issuer a `revocation_endpoint` if it has one, or tokens a shorter lifetime there.";
            return Err(Failure::new(Exit::Config, what, remedy).after_result());
        }
        Outcome::Refused => {
            let what = format!("the issuer refused the revocation ({reason}); {valid}");
            return Err(failed(&answer, what));
        }
        Outcome::Failed | Outcome::Unspecified => {
            let what = format!("the issuer could not be asked ({reason}); {valid}");
            return Err(failed(&answer, what));
        }
    };
    if !as_json {
        writeln!(out, "{}: {what}.", args.name)?;
    }
    Ok(())
}

fn failed(answer: &RevokeTokenResponse, what: String) -> Failure {
    let exit = Reason::of_result(&answer.reason).map_or(Exit::Unavailable, Reason::exit);
    Failure::new(exit, what, &*answer.remedy).after_result()
}

fn describe(args: &RevokeArgs, answer: &RevokeTokenResponse) -> serde_json::Value {
    let outcome = match answer.outcome() {
        Outcome::Revoked => "revoked",
        Outcome::NothingHeld => "nothing_held",
        Outcome::Unsupported => "unsupported",
        Outcome::Refused => "refused",
        Outcome::Failed => "failed",
        Outcome::Unspecified => "unknown",
    };
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    json!({
        "name": args.name,
        "outcome": outcome,
        "valid_until": output::json_time(answer.valid_until.as_ref()),
        "reason": text(&answer.reason),
        "remedy": text(&answer.remedy),
    })
}
