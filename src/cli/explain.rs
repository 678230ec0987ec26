//! `claviger explain`.

use std::io::Write;

use clap::Args;
use claviger_proto::v1::{ExplainRequest, ExplainResponse, PeerDescription};
use serde_json::json;

use crate::cli::{AdminArgs, Exit, Failure, client, output};

#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Exits with 0 if the process is allowed, with 77 if it is denied.

Examples:
  claviger explain billing-api --pid 4711
  claviger explain billing-api --unit billing.service --user 1001
  claviger explain db-password --action secret --pid 4711")]
pub(super) struct ExplainArgs {
    /// The token or secret, by its name in the configuration
    name: String,
    /// What the process requests: token, secret or revoke
    #[arg(long, default_value = "token", value_parser = ["token", "secret", "revoke"])]
    action: String,
    /// A running process
    #[arg(long, conflicts_with_all = ["user", "group", "unit", "container", "exe"])]
    pid: Option<u32>,
    /// The uid of a process that does not run yet
    #[arg(long, value_name = "UID")]
    user: Option<u32>,
    /// Its gid; may be repeated for more groups
    #[arg(long, value_name = "GID")]
    group: Vec<u32>,
    /// Its systemd unit
    #[arg(long)]
    unit: Option<String>,
    /// Its container id
    #[arg(long, value_name = "ID")]
    container: Option<String>,
    /// Its executable
    #[arg(long, value_name = "PATH")]
    exe: Option<String>,
    /// A scope that it requests; may be repeated
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<String>,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Prints the decision and how each rule compares. A denial is a result, with an exit code of its own.
pub(super) async fn explain(
    args: &ExplainArgs,
    as_json: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    if args.pid.is_none() && args.user.is_none() && args.unit.is_none() && args.container.is_none()
    {
        return Err(Failure::new(
            Exit::Usage,
            "no process was given",
            "Name a running process with --pid, or describe one with --user, --unit or --container.",
        ));
    }
    let mut client = client::admin(&args.admin.admin_socket).await?;
    let mut groups = args.group.iter().copied();
    let peer = PeerDescription {
        uid: args.user.unwrap_or(u32::MAX),
        gid: groups.next().unwrap_or(u32::MAX),
        groups: groups.collect(),
        unit: args.unit.clone().unwrap_or_default(),
        container: args.container.clone().unwrap_or_default(),
        cgroup: String::new(),
        executable: args.exe.clone().unwrap_or_default(),
    };
    let request = ExplainRequest {
        pid: args.pid.unwrap_or(0),
        peer: Some(peer),
        action: args.action.clone(),
        name: args.name.clone(),
        scopes: args.scope.clone(),
    };
    let answer = client.explain(request).await?.into_inner();
    if as_json {
        output::json(out, &describe(&answer))?;
    } else {
        print(out, args, &answer)?;
    }
    if answer.allowed {
        Ok(())
    } else {
        Err(Failure::silent(Exit::Denied))
    }
}

fn describe(answer: &ExplainResponse) -> serde_json::Value {
    let peer = answer.peer.clone().unwrap_or_default();
    let rules: Vec<_> = answer
        .rules
        .iter()
        .map(|rule| {
            json!({
                "rule": rule.rule, "selects_peer": rule.selects_peer, "allows": rule.allows,
                "detail": rule.detail,
            })
        })
        .collect();
    json!({
        "allowed": answer.allowed,
        "rule": answer.rule,
        "reason": answer.reason,
        "scopes": answer.scopes,
        "peer": {
            "uid": peer.uid, "gid": peer.gid, "groups": peer.groups, "unit": peer.unit,
            "container": peer.container, "cgroup": peer.cgroup, "executable": peer.executable,
        },
        "rules": rules,
    })
}

fn print(out: &mut dyn Write, args: &ExplainArgs, answer: &ExplainResponse) -> Result<(), Failure> {
    let verdict = if answer.allowed { "allowed" } else { "denied" };
    writeln!(
        out,
        "{} {}: {verdict} — {}",
        args.action,
        output::plain(&args.name),
        output::plain(&answer.reason)
    )?;
    if args.pid.is_some() {
        let peer = answer.peer.clone().unwrap_or_default();
        writeln!(
            out,
            "  the peer: uid {}, gid {}, unit {}, container {}",
            peer.uid,
            peer.gid,
            output::or_dash(&output::plain(&peer.unit)),
            output::or_dash(&output::plain(&peer.container)),
        )?;
    }
    if !answer.scopes.is_empty() {
        writeln!(out, "  with the scopes: {}", answer.scopes.join(" "))?;
    }
    for rule in &answer.rules {
        let mark = if rule.selects_peer && rule.allows {
            "✓"
        } else {
            "✗"
        };
        writeln!(out, "  {mark} rule {}: {}", rule.rule, rule.detail)?;
    }
    Ok(())
}
