//! `claviger check`.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use prost_types::Timestamp;
use serde_json::json;

use crate::cli::{CONFIG, Exit, Failure, client, output, run};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::daemon::{Probe, probe};
use crate::registry;
use crate::rotation::{Mark, Reason};

#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Reads the configuration as the daemon would, reports every problem at once, then asks each backend for what the
configuration refers to and each issuer for its metadata. Hands out nothing, and spends no token request.")]
pub(super) struct CheckArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = CONFIG)]
    config: PathBuf,
    /// Judge the file alone; ask no backend and no issuer
    #[arg(long)]
    offline: bool,
}

pub(super) fn check(args: &CheckArgs, as_json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let config = match Config::load(&args.config) {
        Ok(config) => config,
        Err(problems) => {
            if as_json {
                let problems: Vec<_> = problems.list().iter().map(ToString::to_string).collect();
                output::json(out, &json!({ "valid": false, "problems": problems }))?;
                out.flush()?;
            }
            let remedy = "Mend the file, then check it again.";
            let exit = run::exit_of_faulty(&args.config);
            return Err(Failure::new(exit, problems.to_string(), remedy));
        }
    };
    let warnings: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
    let probes = if args.offline {
        Vec::new()
    } else {
        probe_all(&config)?
    };
    let failed = probes.iter().filter(|probe| probe.outcome.is_err()).count();
    if as_json {
        let probes: Vec<_> = probes
            .iter()
            .map(|probe| {
                json!({
                    "subject": probe.subject,
                    "ok": probe.outcome.is_ok(),
                    "detail": probe.outcome.as_ref().map_or_else(ToString::to_string, Clone::clone),
                    "rotate_now": probe.mark.as_ref().map(|mark| json!({
                        "reason": mark.reason.as_str(), "since": since(mark),
                    })),
                })
            })
            .collect();
        output::json(
            out,
            &json!({ "valid": true, "warnings": warnings, "probes": probes }),
        )?;
    } else {
        print(out, &config, &warnings, &probes)?;
    }
    if failed > 0 {
        out.flush()?;
        let what = format!("{failed} of {} probes failed", probes.len());
        let remedy = "The daemon would start, not be ready, and go on trying.";
        return Err(Failure::new(Exit::Unavailable, what, remedy));
    }
    Ok(())
}

fn probe_all(config: &Config) -> Result<Vec<Probe>, Failure> {
    let backends = registry::open_all(&config.backends, &registry::Backends::default())
        .map_err(|error| Failure::new(Exit::Config, error.to_string(), ""))?;
    client::block_on(async { Ok(probe(config, &backends, Arc::new(SystemClock)).await) })
}

fn print(
    out: &mut dyn Write,
    config: &Config,
    warnings: &[String],
    probes: &[Probe],
) -> Result<(), Failure> {
    writeln!(
        out,
        "{} is valid ({}).",
        config.origin.display(),
        config.digest
    )?;
    writeln!(
        out,
        "  {} tokens and {} secrets for programs, by {} rules; {} backends, {} issuers, {} clients",
        config.tokens.len(),
        config.secrets.len(),
        config.rules.len(),
        config.backends.len(),
        config.issuers.len(),
        config.clients.len(),
    )?;
    for warning in warnings {
        writeln!(out, "  ! {warning}")?;
    }
    for probe in probes {
        match &probe.outcome {
            Ok(detail) => writeln!(out, "  ✓ {}: {detail}", probe.subject)?,
            Err(problem) => writeln!(out, "  ✗ {}: {problem}", probe.subject)?,
        }
        if let Some(mark) = &probe.mark {
            let why = match mark.reason {
                Reason::LayInTheClear => "it was imported from a file, where it lay in the clear",
            };
            writeln!(
                out,
                "  ! {}: rotate it now; {why} (since {} at the latest)",
                probe.subject,
                since(mark)
            )?;
        }
    }
    Ok(())
}

fn since(mark: &Mark) -> String {
    // The last second of the year 9999: RFC 3339 has no later one.
    let seconds = mark.at.as_secs().min(253_402_300_799);
    let seconds = i64::try_from(seconds).unwrap_or(0);
    output::time(Some(&Timestamp { seconds, nanos: 0 }))
}
