//! `claviger check`.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use prost_types::Timestamp;
use serde_json::{Value, json};

use crate::cli::{CONFIG, Exit, Failure, client, output, run};
use crate::config::{Config, Problem, Problems};
use crate::daemon::{Probe, ProbeError, probe, trial};
use crate::registry::{self, Backends};
use claviger_core::rotation::{Mark, Reason};
use claviger_runtime::clock::{Clock, SystemClock};
use claviger_runtime::telemetry::Causes;
use claviger_server::Sockets;

#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Reads the configuration as the daemon would, reports every problem at once, then asks each backend for what the \
configuration refers to and each issuer for its metadata. Hands out nothing, and spends no token request unless --token \
asks for one. Run it as the daemon's user, because other users cannot read all that it reads.

Examples:
  sudo claviger check
  sudo -u claviger claviger check
  sudo claviger check --token billing-api    proves secret, grant, scopes and audience by a real request
  claviger check --offline --config ./claviger.toml")]
pub(super) struct CheckArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = CONFIG)]
    config: PathBuf,
    /// Check the file alone; contact no backend and no issuer
    #[arg(long)]
    offline: bool,
    /// Request this token from its issuer, and drop it; may be repeated
    #[arg(long = "token", value_name = "NAME", conflicts_with = "offline")]
    tokens: Vec<String>,
}

/// The result for a valid configuration.
struct Findings {
    config: Config,
    probes: Vec<Probe>,
}

pub(super) fn check(args: &CheckArgs, as_json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let config = match Config::load(&args.config) {
        Ok(config) => config,
        Err(problems) => return refuse(args, &problems, as_json, out),
    };
    if let Err(error) = Sockets::judge(&config.server) {
        let problem = Problem::at("server".to_owned(), Causes(&error).to_string());
        return refuse(
            args,
            &Problems::new(&config.origin, vec![problem]),
            as_json,
            out,
        );
    }
    let findings = Findings::of(config, args)?;
    if as_json {
        output::json(out, &findings.describe())?;
    } else {
        findings.print(out)?;
    }
    findings.verdict()
}

fn refuse(
    args: &CheckArgs,
    problems: &Problems,
    as_json: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    if as_json {
        output::json(
            out,
            &json!({ "config": args.config, "valid": false, "problems": problems.lines() }),
        )?;
    }
    let exit = run::exit_of_faulty(&args.config);
    Err(Failure::new(exit, problems.to_string(), run::remedy_of_faulty(exit)).after_result())
}

impl Findings {
    fn of(config: Config, args: &CheckArgs) -> Result<Self, Failure> {
        let find = |name: &String| {
            let token = config.tokens.iter().find(|token| *token.name == **name);
            token.ok_or_else(|| {
                let what = format!("the configuration has no token {name:?}");
                Failure::new(
                    Exit::Usage,
                    what,
                    "Name a `[tokens.NAME]` of the configuration.",
                )
            })
        };
        let tokens: Vec<_> = args.tokens.iter().map(find).collect::<Result<_, _>>()?;
        let probes = if args.offline {
            Vec::new()
        } else {
            client::block_on(async {
                let clock: Arc<dyn Clock> = Arc::new(SystemClock);
                let none = Backends::none(Arc::clone(&clock));
                Ok(match registry::open_all(&config.backends, &none).await {
                    Ok(backends) => {
                        let mut probes = probe(&config, &backends, Arc::clone(&clock)).await;
                        for token in tokens {
                            probes.push(trial(token, &backends, Arc::clone(&clock)).await);
                        }
                        probes
                    }
                    Err(unopened) => unopened.into_errors().into_iter().map(broken).collect(),
                })
            })?
        };
        Ok(Self { config, probes })
    }

    fn describe(&self) -> Value {
        let probes: Vec<_> = self
            .probes
            .iter()
            .map(|probe| {
                json!({
                    "subject": probe.subject,
                    "ok": probe.outcome.is_ok(),
                    "detail": match &probe.outcome {
                        Ok(finding) => finding.to_string(),
                        Err(error) => error.to_string(),
                    },
                    "warnings": probe.warnings,
                    "rotate_now": probe.mark.as_ref().map(|mark| json!({
                        "reason": mark.reason.as_str(), "since": since(mark),
                    })),
                })
            })
            .collect();
        json!({
            "config": self.config.origin,
            "digest": self.config.digest,
            "valid": true,
            "warnings": self.config.warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "probes": probes,
        })
    }

    fn print(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let config = &self.config;
        writeln!(
            out,
            "{} is valid ({}).",
            config.origin.display(),
            config.digest
        )?;
        writeln!(
            out,
            "  {} and {} for programs, by {}; {}, {}, {}",
            output::count(config.tokens.len(), "token"),
            output::count(config.secrets.len(), "secret"),
            output::count(config.rules.len(), "rule"),
            output::count(config.backends.len(), "backend"),
            output::count(config.issuers.len(), "issuer"),
            output::count(config.clients.len(), "client"),
        )?;
        for warning in &config.warnings {
            writeln!(out, "  ! {warning}")?;
        }
        for probe in &self.probes {
            match &probe.outcome {
                Ok(finding) => writeln!(out, "  ✓ {}: {finding}", probe.subject)?,
                Err(error) => writeln!(out, "  ✗ {}: {error}", probe.subject)?,
            }
            for warning in &probe.warnings {
                writeln!(out, "  ! {}: {warning}", probe.subject)?;
            }
            if let Some(mark) = &probe.mark {
                let why = match mark.reason {
                    Reason::LayInTheClear => {
                        "it was imported from a file, where it was in plaintext"
                    }
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

    /// How a daemon would start with it.
    fn verdict(&self) -> Result<(), Failure> {
        let errors: Vec<_> = self
            .probes
            .iter()
            .filter_map(|probe| Some((probe.needed, probe.outcome.as_ref().err()?)))
            .collect();
        // A mistake outweighs an outage, because it remains when the outage is over.
        let Some(exit) = errors.iter().map(|(_, error)| error.exit()).max() else {
            return Ok(());
        };
        let what = format!("{} of {} probes failed", errors.len(), self.probes.len());
        let needed = errors.iter().any(|(needed, _)| *needed);
        let outlook = if errors.iter().any(|(_, error)| error.is_fatal()) {
            "The daemon would not start."
        } else if needed && self.config.require_backend_at_start {
            "The daemon would not start, because `require_backend_at_start` is set."
        } else if needed {
            "The daemon would start, not be ready, and keep trying."
        } else {
            "The daemon would start, and try again when a token is requested."
        };
        Err(Failure::new(exit, what, outlook).after_result())
    }
}

/// A backend that cannot be opened. The others are not probed: a daemon would not start, either.
fn broken(error: registry::Error) -> Probe {
    Probe {
        subject: format!("backend {}", error.backend),
        needed: true,
        outcome: Err(ProbeError::Unopened(error)),
        warnings: Vec::new(),
        mark: None,
    }
}

fn since(mark: &Mark) -> String {
    // The last second of the year 9999: RFC 3339 has no later one.
    let seconds = mark.at.as_secs().min(253_402_300_799);
    let seconds = i64::try_from(seconds).unwrap_or(0);
    output::time(Some(&Timestamp { seconds, nanos: 0 }))
}
