//! `claviger refresh`.

use std::io::Write;

use clap::Args;
use claviger_proto::v1::{RefreshRequest, RefreshResult};
use serde_json::json;

use crate::cli::{AdminArgs, Exit, Failure, client, output};
use claviger_runtime::reason::Reason;

#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  claviger refresh                                     everything
  claviger refresh billing-api                         one token
  claviger refresh prod:oauth/billing#client_secret    one secret, after it was changed at the backend
  claviger refresh --issuer acme                       an issuer's metadata, also if a change of it waits for you")]
pub(super) struct RefreshArgs {
    /// Names of tokens or secrets, or references; none for everything
    names: Vec<String>,
    /// Re-read and accept this issuer's metadata; may be repeated
    #[arg(long = "issuer", value_name = "NAME")]
    issuers: Vec<String>,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Refreshes now, and prints the result for each name.
pub(super) async fn refresh(
    args: &RefreshArgs,
    as_json: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut client = client::admin(&args.admin.admin_socket).await?;
    let request = RefreshRequest {
        names: args.names.clone(),
        issuers: args.issuers.clone(),
    };
    let results = client.refresh(request).await?.into_inner().results;
    if as_json {
        let results: Vec<_> = results
            .iter()
            .map(|result| {
                json!({
                    "name": result.name, "ok": result.ok, "changed": result.changed,
                    "error": result.error, "remedy": result.remedy,
                })
            })
            .collect();
        output::json(out, &json!({ "results": results }))?;
    } else if results.is_empty() {
        writeln!(out, "Nothing to refresh: no token has been requested yet.")?;
    } else {
        let rows: Vec<_> = results.iter().map(row).collect();
        output::table(out, &["NAME", "RESULT", "REMEDY"], &rows)?;
    }
    let failed: Vec<_> = results.iter().filter(|result| !result.ok).collect();
    if failed.is_empty() {
        return Ok(());
    }
    let what = format!(
        "{} of {} could not be refreshed",
        failed.len(),
        results.len()
    );
    // A mistake outweighs an outage, because it remains when the outage is over.
    let exits = failed
        .iter()
        .map(|result| Reason::of_result(&result.error).map_or(Exit::Unavailable, Reason::exit));
    let exit = exits.max().unwrap_or(Exit::Unavailable);
    let remedy = if exit == Exit::Usage {
        "`claviger status` lists the names."
    } else {
        ""
    };
    Err(Failure::new(exit, what, remedy).after_result())
}

fn row(result: &RefreshResult) -> Vec<String> {
    let outcome = match (result.ok, result.changed) {
        (true, true) => "renewed".to_owned(),
        (true, false) => "confirmed, unchanged".to_owned(),
        (false, _) => result.error.clone(),
    };
    vec![
        result.name.clone(),
        outcome,
        output::or_dash(&result.remedy),
    ]
}
