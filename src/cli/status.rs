//! `claviger status`.

use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

use clap::Args;
use claviger_proto::v1::{self, StatusRequest, StatusResponse};
use serde_json::json;

use crate::cli::{AdminArgs, Failure, client, output};

/// How often `--watch` repeats it.
const EVERY: Duration = Duration::from_secs(2);

#[derive(Args, Clone, Debug)]
pub(super) struct StatusArgs {
    /// Show it again every two seconds, until interrupted
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Prints the state of the daemon.
pub(super) async fn status(
    args: &StatusArgs,
    as_json: bool,
    out: &mut dyn Write,
    is_terminal: bool,
) -> Result<(), Failure> {
    let mut shown = ask(args).await?;
    loop {
        if args.watch && is_terminal && !as_json {
            // Clear the screen and go to its first line (ECMA-48 ED and CUP).
            write!(out, "\u{1b}[2J\u{1b}[H")?;
        }
        if as_json {
            output::json(out, &describe(&shown))?;
        } else {
            print(out, &shown)?;
        }
        out.flush()?;
        if !args.watch {
            return Ok(());
        }
        shown = again(args).await;
    }
}

async fn ask(args: &StatusArgs) -> Result<StatusResponse, Failure> {
    let mut client = client::admin(&args.admin.admin_socket).await?;
    Ok(client.status(StatusRequest {}).await?.into_inner())
}

/// The next status. `--watch` survives a restart of the daemon: it reports that the daemon is absent and tries again.
async fn again(args: &StatusArgs) -> StatusResponse {
    let mut told = false;
    loop {
        tokio::time::sleep(EVERY).await;
        match ask(args).await {
            Ok(status) => return status,
            Err(failure) if !told => {
                failure.print();
                told = true;
            }
            Err(_still_away) => {}
        }
    }
}

fn print(out: &mut dyn Write, status: &StatusResponse) -> Result<(), Failure> {
    let ready = if status.ready { "ready" } else { "NOT READY" };
    writeln!(
        out,
        "claviger {}, pid {}, {ready}",
        status.version, status.pid
    )?;
    writeln!(
        out,
        "  since {}, configuration {} ({}) of {}",
        output::time(status.started_at.as_ref()),
        status.config_path,
        status.config_digest,
        output::time(status.config_loaded_at.as_ref()),
    )?;
    for warning in &status.warnings {
        writeln!(out, "  ! {warning}")?;
    }
    print_tokens(out, status)?;
    writeln!(out, "\nSecrets")?;
    output::table(
        out,
        &[
            "REFERENCE",
            "VERSION",
            "STATE",
            "CONFIRMED",
            "NEXT",
            "LAST ERROR",
        ],
        &status.secrets.iter().map(secret_row).collect::<Vec<_>>(),
    )?;
    print_upstream(out, status)?;
    print_process(out, status)
}

fn print_tokens(out: &mut dyn Write, status: &StatusResponse) -> Result<(), Failure> {
    writeln!(out, "\nTokens")?;
    output::table(
        out,
        &[
            "NAME",
            "ISSUER",
            "CLIENT",
            "SCOPES",
            "STATE",
            "LEFT",
            "HITS",
            "UPSTREAM",
            "LAST ERROR",
        ],
        &status
            .tokens
            .iter()
            .flat_map(token_rows)
            .collect::<Vec<_>>(),
    )?;
    for token in &status.tokens {
        let failed = token
            .entries
            .iter()
            .filter(|entry| !entry.last_error.is_empty());
        let causes: BTreeSet<_> = failed
            .map(|entry| (&entry.last_error, &entry.last_error_detail))
            .collect();
        for (reason, detail) in causes {
            writeln!(
                out,
                "  ✗ {}: {reason}: {}",
                token.name,
                output::plain(detail)
            )?;
        }
    }
    Ok(())
}

fn print_upstream(out: &mut dyn Write, status: &StatusResponse) -> Result<(), Failure> {
    writeln!(out, "\nBackends and issuers")?;
    output::table(
        out,
        &["NAME", "WHAT", "STATE", "LAST ANSWER"],
        &upstream_rows(status),
    )?;
    for issuer in status
        .issuers
        .iter()
        .filter(|issuer| !issuer.last_error.is_empty())
    {
        let detail = output::plain(&issuer.last_error_detail);
        writeln!(out, "  ✗ {}: {}: {detail}", issuer.name, issuer.last_error)?;
    }
    Ok(())
}

fn print_process(out: &mut dyn Write, status: &StatusResponse) -> Result<(), Failure> {
    let server = status.server.clone().unwrap_or_default();
    writeln!(
        out,
        "\nSockets\n  {} for programs, {} for operators\n  {} open, {} refused; {} answered, {} denied, {} failed",
        server.broker_socket,
        server.admin_socket,
        output::count(server.connections, "connection"),
        server.connections_refused,
        output::count(server.requests_answered, "request"),
        server.requests_denied,
        server.requests_failed,
    )?;
    writeln!(out, "\nProtections")?;
    for protection in &status.protections {
        let mark = if protection.holds { "✓" } else { "✗" };
        writeln!(out, "  {mark} {} ({})", protection.name, protection.detail)?;
    }
    Ok(())
}

fn token_rows(token: &v1::TokenStatus) -> Vec<Vec<String>> {
    let row = |entry: Option<&v1::TokenEntry>| {
        let mut row = vec![
            token.name.clone(),
            token.issuer.clone(),
            token.client.clone(),
        ];
        row.extend(match entry {
            Some(entry) => vec![
                output::or_dash(&entry.scopes.join(" ")),
                entry.state.clone(),
                output::wire_duration(entry.lifetime_left.as_ref()),
                entry.hits.to_string(),
                entry.upstream_requests.to_string(),
                output::or_dash(&entry.last_error),
            ],
            None => ["-", "not requested yet", "-", "0", "0", "-"]
                .map(str::to_owned)
                .to_vec(),
        });
        row
    };
    if token.entries.is_empty() {
        return vec![row(None)];
    }
    token.entries.iter().map(|entry| row(Some(entry))).collect()
}

fn secret_row(secret: &v1::SecretStatus) -> Vec<String> {
    vec![
        secret.reference.clone(),
        output::or_dash(&secret.version),
        secret.state.clone(),
        output::time(secret.confirmed_at.as_ref()),
        output::wire_duration(secret.next_refresh.as_ref()),
        output::or_dash(&secret.last_error),
    ]
}

fn upstream_rows(status: &StatusResponse) -> Vec<Vec<String>> {
    let backends = status.backends.iter().map(|backend| {
        let state = match (backend.reachable, backend.last_success) {
            (true, Some(_)) => "answers".to_owned(),
            (true, None) => "not asked yet".to_owned(),
            (false, _) => backend.last_error.clone(),
        };
        let kind = format!("{} backend", backend.kind);
        let last = output::time(backend.last_success.as_ref());
        vec![backend.name.clone(), kind, output::or_dash(&state), last]
    });
    let issuers = status.issuers.iter().map(|issuer| {
        let state = match (issuer.last_error.as_str(), issuer.discovered) {
            ("", true) if !issuer.metadata_waiting.is_empty() => "metadata change waits",
            ("", true) if issuer.metadata_stale => "metadata stale",
            ("", true) => "answers",
            ("", false) => "not asked yet",
            (error, _) => error,
        };
        let last = output::time(issuer.last_success.as_ref());
        vec![
            issuer.name.clone(),
            format!("issuer {}", issuer.issuer),
            state.to_owned(),
            last,
        ]
    });
    backends.chain(issuers).collect()
}

fn describe(status: &StatusResponse) -> serde_json::Value {
    let time = |value: &Option<prost_types::Timestamp>| output::json_time(value.as_ref());
    let seconds = |value: &Option<prost_types::Duration>| value.as_ref().map(|value| value.seconds);
    let server = status.server.clone().unwrap_or_default();
    json!({
        "version": status.version,
        "pid": status.pid,
        "ready": status.ready,
        "started_at": time(&status.started_at),
        "config": {
            "path": status.config_path,
            "digest": status.config_digest,
            "loaded_at": time(&status.config_loaded_at),
        },
        "warnings": status.warnings,
        "tokens": status.tokens.iter().map(|token| json!({
            "name": token.name, "issuer": token.issuer, "client": token.client,
            "entries": token.entries.iter().map(|entry| json!({
                "scopes": entry.scopes, "state": entry.state,
                "lifetime_left": seconds(&entry.lifetime_left), "generation": entry.generation,
                "fingerprint": entry.fingerprint, "last_error": entry.last_error,
                "last_error_detail": entry.last_error_detail,
                "retry_in": seconds(&entry.retry_in), "hits": entry.hits,
                "upstream_requests": entry.upstream_requests,
            })).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "secrets": status.secrets.iter().map(|secret| json!({
            "reference": secret.reference, "name": secret.name, "version": secret.version,
            "state": secret.state, "confirmed_at": time(&secret.confirmed_at),
            "next_refresh": seconds(&secret.next_refresh), "last_error": secret.last_error,
            "failures": secret.failures,
        })).collect::<Vec<_>>(),
        "backends": status.backends.iter().map(|backend| json!({
            "name": backend.name, "kind": backend.kind, "reachable": backend.reachable,
            "last_error": backend.last_error, "last_success": time(&backend.last_success),
        })).collect::<Vec<_>>(),
        "issuers": status.issuers.iter().map(|issuer| json!({
            "name": issuer.name, "issuer": issuer.issuer, "discovered": issuer.discovered,
            "last_error": issuer.last_error, "last_error_detail": issuer.last_error_detail,
            "last_success": time(&issuer.last_success),
            "clock_skew_seconds": issuer.clock_skew_seconds,
            "metadata_read_at": time(&issuer.metadata_read_at),
            "metadata_stale": issuer.metadata_stale,
            "metadata_waiting": issuer.metadata_waiting,
        })).collect::<Vec<_>>(),
        "server": {
            "broker_socket": server.broker_socket, "admin_socket": server.admin_socket,
            "connections": server.connections, "connections_refused": server.connections_refused,
            "requests_answered": server.requests_answered,
            "requests_denied": server.requests_denied, "requests_failed": server.requests_failed,
            "operations": server.operations.iter().map(|counts| json!({
                "operation": counts.operation, "answered": counts.answered,
                "denied": counts.denied, "failed": counts.failed,
            })).collect::<Vec<_>>(),
        },
        "protections": status.protections.iter().map(|protection| json!({
            "name": protection.name, "holds": protection.holds, "detail": protection.detail,
        })).collect::<Vec<_>>(),
    })
}
