//! `claviger reload`.

use std::io::Write;

use clap::Args;
use claviger_proto::v1::ReloadRequest;
use serde_json::json;

use crate::cli::{AdminArgs, Exit, Failure, client, output};

#[derive(Args, Clone, Debug)]
pub(super) struct ReloadArgs {
    /// Check and compare only; change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Reloads the configuration, and prints the changes, or every problem.
pub(super) async fn reload(
    args: &ReloadArgs,
    as_json: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut client = client::admin(&args.admin.admin_socket).await?;
    let request = ReloadRequest {
        dry_run: args.dry_run,
    };
    let answer = client.reload(request).await?.into_inner();
    if as_json {
        output::json(
            out,
            &json!({
                "dry_run": args.dry_run, "valid": answer.applied,
                "applied": answer.applied && !args.dry_run, "changes": answer.changes, "problems": answer.problems,
            }),
        )?;
    } else if answer.applied {
        let done = if args.dry_run {
            "It can be applied."
        } else {
            "It is applied."
        };
        writeln!(out, "The configuration is valid. {done}")?;
        if answer.changes.is_empty() {
            writeln!(out, "Nothing differs from before.")?;
        }
        for change in &answer.changes {
            writeln!(out, "  {change}")?;
        }
    }
    if answer.applied {
        return Ok(());
    }
    let mut what = String::from("the configuration was rejected; the old one stays in use");
    if !as_json {
        for problem in &answer.problems {
            what.push_str("\n  ");
            what.push_str(problem);
        }
    }
    Err(Failure::new(
        Exit::Config,
        what,
        "Fix the file, then run `claviger reload` again.",
    )
    .after_result())
}
