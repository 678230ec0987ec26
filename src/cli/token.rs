//! `claviger token`.

use std::io::{self, Write};

use clap::Args;
use claviger_proto::v1::{Freshness, GetTokenRequest, GetTokenResponse};
use serde_json::json;

use crate::cli::client::{self, BrokerArgs};
use crate::cli::{Failure, output};

#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  claviger token billing-api
  claviger token billing-api --scope read:invoices --min-remaining 600 --output json
  claviger token billing-api |
      sed 's/^/Authorization: Bearer /' | curl -H @- https://api.example.com
      Not as an argument of curl: every user of the host can read those.")]
pub(super) struct TokenArgs {
    /// The token's name in the daemon's configuration
    name: String,
    /// Request this scope only; may be repeated
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<String>,
    /// Refuse a token that lives shorter than this many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    min_remaining: u32,
    /// Renew it even if the cached one is valid
    #[arg(long)]
    force_refresh: bool,
    #[command(flatten)]
    broker: BrokerArgs,
}

/// Prints a token: as text the token alone, as JSON with its details. On a terminal a warning follows.
pub(super) async fn token(
    args: &TokenArgs,
    as_json: bool,
    out: &mut dyn Write,
    is_terminal: bool,
) -> Result<(), Failure> {
    let mut client = client::tokens(&args.broker.socket).await?;
    let request = GetTokenRequest {
        name: args.name.clone(),
        scopes: args.scope.clone(),
        min_remaining: Some(prost_types::Duration {
            seconds: i64::from(args.min_remaining),
            nanos: 0,
        }),
        force_refresh: args.force_refresh,
    };
    let answer = client.get_token(request).await?.into_inner();
    if as_json {
        output::json(out, &describe(&answer))?;
    } else {
        writeln!(out, "{}", answer.access_token)?;
    }
    if is_terminal {
        out.flush()?;
        let left = output::wire_duration(answer.lifetime_left.as_ref());
        // Without a terminal on standard error the warning would end up in a log.
        drop(writeln!(
            io::stderr(),
            "  ! every reader of this terminal can use the token for the {left} until it expires"
        ));
    }
    Ok(())
}

fn describe(answer: &GetTokenResponse) -> serde_json::Value {
    let left = answer.lifetime_left.as_ref().map_or(0, |left| left.seconds);
    let freshness = match answer.freshness() {
        Freshness::Fresh => "fresh",
        Freshness::Refreshed => "refreshed",
        Freshness::Stale => "stale",
        Freshness::Unspecified => "unknown",
    };
    json!({
        "access_token": answer.access_token,
        "token_type": answer.token_type,
        "expires_in": left,
        "expires_at": output::json_time(answer.expires_at.as_ref()),
        "freshness": freshness,
        "scopes": answer.scopes,
        "generation": answer.generation,
        "fingerprint": answer.fingerprint,
    })
}
