//! `claviger.v1.Admin`.

use std::sync::Arc;

use claviger_proto::v1::{self, admin_server::Admin};
use futures_util::future::join_all;
use tonic::{Request, Response, Status};

use crate::answers::Problem;
use crate::context::Context;
use crate::grpc::{convert, status};
use crate::operator::{BackendOverview, IssuerOverview, Overview};
use claviger_core::audit::{Counts, Operation, Released};
use claviger_core::broker::{Explained, Question, Unknown};
use claviger_core::peer::{self, Cgroup, Facts, is_overflow};
use claviger_core::policy::Action;
use claviger_core::{secrets, tokens};
use claviger_runtime::reason::{Reasoned, advice};

/// The most names that one refresh may list.
const MOST_NAMES: usize = 256;

/// Why a process of the overflow user gets nothing, whatever the rules say.
const OVERFLOW: &str = "UNIDENTIFIED: the process runs as the overflow user (65534, often `nobody`), which the kernel reports for every user that it cannot name; run it as a user of its own";

/// The service on one connection.
pub(crate) struct Service {
    pub(crate) context: Context,
}

#[tonic::async_trait]
impl Admin for Service {
    async fn status(
        &self,
        _request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        let Context {
            shared, session, ..
        } = &self.context;
        let seen = shared
            .broker
            .operate(session, Operation::Status, "", |world| async move {
                Seen {
                    overview: shared.operator.overview(),
                    secrets: world.secrets.status(),
                    tokens: world.tokens.status(),
                    counts: shared.broker.counts(),
                }
            })
            .await
            .map_err(|error| status::of(&error))?;
        Ok(Response::new(self.status_of(seen)))
    }

    async fn explain(
        &self,
        request: Request<v1::ExplainRequest>,
    ) -> Result<Response<v1::ExplainResponse>, Status> {
        let request = request.into_inner();
        let action = Action::from_word(&request.action).ok_or_else(|| {
            Problem::invalid("action", "expected \"token\", \"secret\" or \"revoke\"")
        })?;
        self.context.note_name(convert::name(&request.name)?);
        let question = Question {
            action,
            scopes: convert::scopes(&request.scopes)?,
            facts: match request.pid {
                0 => described(request.peer.unwrap_or_default()),
                pid => Facts::of_pid(pid, &self.context.shared.peers)
                    .await
                    .map_err(|error| unexplained(&error))?,
            },
            name: request.name,
        };
        let explained = self
            .context
            .shared
            .broker
            .explain(&self.context.session, &question)
            .await
            .map_err(|error| status::of(&error))?;
        Ok(Response::new(explanation(&question, explained)))
    }

    async fn refresh(
        &self,
        request: Request<v1::RefreshRequest>,
    ) -> Result<Response<v1::RefreshResponse>, Status> {
        let v1::RefreshRequest { names, issuers } = request.into_inner();
        self.context
            .note_name(&[issuers.as_slice(), names.as_slice()].concat().join(" "));
        for (field, wished) in [("names", &names), ("issuers", &issuers)] {
            if wished.len() > MOST_NAMES {
                return Err(Problem::invalid(field, "at most 256 names at once").into());
            }
        }
        let Context {
            shared, session, ..
        } = &self.context;
        let mut results = Vec::new();
        // Issuers first: a token that is renewed should be requested where they are now.
        if !issuers.is_empty() {
            let recorded = issuers.join(" ");
            let read = shared
                .broker
                .operate(session, Operation::Refresh, &recorded, |_world| {
                    join_all(issuers.iter().map(|name| async move {
                        refresh_result(name, &shared.operator.refresh_issuer(name).await)
                    }))
                })
                .await
                .map_err(|error| status::of(&error))?;
            results.extend(read.into_inner());
        }
        if issuers.is_empty() || !names.is_empty() {
            let refreshed = shared
                .broker
                .refresh(session, &names)
                .await
                .map_err(|error| status::of(&error))?;
            results.extend(
                refreshed
                    .iter()
                    .map(|one| refresh_result(&one.name, &one.outcome)),
            );
        }
        Ok(Response::new(v1::RefreshResponse { results }))
    }

    async fn reload(
        &self,
        request: Request<v1::ReloadRequest>,
    ) -> Result<Response<v1::ReloadResponse>, Status> {
        let dry_run = request.into_inner().dry_run;
        let Context {
            shared, session, ..
        } = &self.context;
        let outcome = shared
            .broker
            .operate(session, Operation::Reload, "", |_world| {
                Arc::clone(&shared.operator).reload(dry_run)
            })
            .await
            .map_err(|error| status::of(&error))?;
        let response = match &*outcome {
            Ok(reloaded) => v1::ReloadResponse {
                applied: true,
                changes: reloaded.changes.iter().map(ToString::to_string).collect(),
                problems: Vec::new(),
            },
            Err(refused) => v1::ReloadResponse {
                applied: false,
                changes: Vec::new(),
                problems: refused.lines(),
            },
        };
        Ok(Response::new(response))
    }
}

/// What `status` shows.
struct Seen {
    overview: Overview,
    secrets: Vec<secrets::Status>,
    tokens: Vec<tokens::TokenStatus>,
    counts: Vec<Counts>,
}

impl Service {
    fn status_of(&self, seen: Released<Seen>) -> v1::StatusResponse {
        let Seen {
            overview,
            secrets,
            tokens,
            counts,
        } = seen.into_inner();
        v1::StatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started_at: Some(convert::system_time(overview.started)),
            ready: overview.ready,
            config_path: overview.config_path.display().to_string(),
            config_digest: overview.config_digest.clone(),
            config_loaded_at: Some(convert::system_time(overview.config_loaded)),
            backends: overview.backends.iter().map(backend).collect(),
            issuers: overview.issuers.iter().map(issuer).collect(),
            secrets: secrets.into_iter().map(secret).collect(),
            tokens: tokens.into_iter().map(token).collect(),
            server: Some(self.server(&counts)),
            protections: overview
                .protections
                .iter()
                .map(|protection| v1::Protection {
                    name: protection.name.to_owned(),
                    holds: protection.holds,
                    detail: protection.detail.clone(),
                })
                .collect(),
            warnings: overview.warnings,
        }
    }

    fn server(&self, counts: &[Counts]) -> v1::ServerStatus {
        let shared = &self.context.shared;
        let of_programs = |count: fn(&Counts) -> u64| {
            counts
                .iter()
                .filter(|counts| !counts.operation.is_operators())
                .map(count)
                .sum()
        };
        v1::ServerStatus {
            broker_socket: shared.settings.socket.display().to_string(),
            admin_socket: shared.settings.admin_socket.display().to_string(),
            connections: u32::try_from(shared.metrics.open()).unwrap_or(u32::MAX),
            connections_refused: shared.metrics.refused(),
            requests_answered: of_programs(|counts| counts.answered),
            requests_denied: of_programs(|counts| counts.denied),
            requests_failed: of_programs(|counts| counts.failed),
            operations: counts
                .iter()
                .map(operation)
                .filter(|of| of.answered + of.denied + of.failed > 0)
                .collect(),
        }
    }
}

fn unexplained(error: &peer::Error) -> Problem {
    let remedy = if matches!(error, peer::Error::Unmapped { .. }) {
        OVERFLOW
    } else {
        "no such process, or it cannot be identified"
    };
    Problem::invalid("pid", remedy)
}

fn explanation(question: &Question, explained: Released<Explained>) -> v1::ExplainResponse {
    let Explained {
        explanation,
        unknown,
    } = explained.into_inner();
    // Its requests are refused before any rule is read.
    let unidentified = is_overflow(question.facts.uid);
    let (rule, reason) = match (&explanation.decision, &unknown) {
        _ if unidentified => (0, OVERFLOW.to_owned()),
        (Ok(allowed), _) => (allowed.rule, format!("rule {} allows it", allowed.rule)),
        (Err(_), Some(unknown)) => (0, missing(question.action, &question.name, unknown)),
        (Err(denial), None) => (0, denial.to_string()),
    };
    let scopes = explanation
        .decision
        .as_ref()
        .ok()
        .and_then(|allowed| allowed.scopes.as_ref());
    v1::ExplainResponse {
        allowed: explanation.decision.is_ok() && !unidentified,
        rule,
        reason,
        peer: Some(description(&question.facts)),
        scopes: scopes
            .map(|scopes| scopes.iter().map(str::to_owned).collect())
            .unwrap_or_default(),
        rules: (1_u32..)
            .zip(explanation.rules)
            .map(|(rule, verdict)| v1::RuleVerdict {
                rule,
                selects_peer: verdict.selects_peer,
                allows: verdict.allows,
                detail: verdict.detail,
            })
            .collect(),
    }
}

fn refresh_result<E: Reasoned>(name: &str, outcome: &Result<bool, E>) -> v1::RefreshResult {
    let failure = outcome.as_ref().err();
    v1::RefreshResult {
        name: name.to_owned(),
        ok: failure.is_none(),
        changed: matches!(outcome, Ok(true)),
        error: failure
            .map_or("", |failure| failure.reason().label())
            .to_owned(),
        remedy: failure.map(advice).unwrap_or_default(),
    }
}

/// That no rule can help, because the configuration does not have what is asked for.
fn missing(action: Action, name: &str, unknown: &Unknown) -> String {
    let meant = unknown.meant.as_ref();
    let meant = meant.map_or_else(String::new, |meant| format!("; did you mean {meant:?}?"));
    let subject = action.subject();
    format!("the configuration has no {subject} {name:?}{meant}")
}

fn described(peer: v1::PeerDescription) -> Facts {
    let text = |text: String| (!text.is_empty()).then_some(text);
    Facts {
        uid: peer.uid,
        gid: peer.gid,
        groups: peer.groups,
        pid: 0,
        nested: false,
        cgroup: Some(Cgroup {
            path: peer.cgroup,
            unit: text(peer.unit),
            container: text(peer.container),
        }),
        executable: text(peer.executable).map(Into::into),
    }
}

fn description(facts: &Facts) -> v1::PeerDescription {
    let cgroup = facts.cgroup.clone().unwrap_or_default();
    v1::PeerDescription {
        uid: facts.uid,
        gid: facts.gid,
        groups: facts.groups.clone(),
        unit: cgroup.unit.unwrap_or_default(),
        container: cgroup.container.unwrap_or_default(),
        cgroup: cgroup.path,
        executable: facts
            .executable
            .as_ref()
            .map(|path| path.display().to_string())
            .unwrap_or_default(),
    }
}

fn operation(counts: &Counts) -> v1::OperationCounts {
    v1::OperationCounts {
        operation: counts.operation.as_str().to_owned(),
        answered: counts.answered,
        denied: counts.denied,
        failed: counts.failed,
    }
}

fn backend(backend: &BackendOverview) -> v1::BackendStatus {
    v1::BackendStatus {
        name: backend.name.clone(),
        kind: backend.kind.to_owned(),
        reachable: backend.reachable,
        last_error: backend.last_error.unwrap_or_default().to_owned(),
        last_success: backend.last_success.map(convert::moment),
    }
}

fn issuer(issuer: &IssuerOverview) -> v1::IssuerStatus {
    let metadata = issuer.metadata.as_ref();
    v1::IssuerStatus {
        name: issuer.name.to_string(),
        issuer: issuer.issuer.clone(),
        discovered: metadata.is_some(),
        last_error: issuer.last_error.unwrap_or_default().to_owned(),
        last_error_detail: issuer.last_error_detail.clone().unwrap_or_default(),
        last_success: issuer.last_success.map(convert::system_time),
        clock_skew_seconds: issuer.clock_skew_seconds,
        metadata_read_at: metadata.and_then(|known| known.read).map(convert::moment),
        metadata_stale: metadata.is_some_and(|known| known.stale),
        metadata_waiting: metadata
            .into_iter()
            .flat_map(|known| &known.differences)
            .map(|&field| field.to_owned())
            .collect(),
    }
}

fn secret(secret: secrets::Status) -> v1::SecretStatus {
    v1::SecretStatus {
        reference: secret.reference.to_string(),
        version: secret
            .version
            .map(|version| version.to_string())
            .unwrap_or_default(),
        state: secret.state.as_str().to_owned(),
        confirmed_at: secret.confirmed.map(convert::moment),
        next_refresh: Some(convert::seconds(secret.next_refresh)),
        last_error: secret
            .last_error
            .map(|kind| kind.as_str().to_owned())
            .unwrap_or_default(),
        failures: secret.failures,
        name: secret.name.map(|name| name.to_string()).unwrap_or_default(),
    }
}

fn token(token: tokens::TokenStatus) -> v1::TokenStatus {
    let entry = |entry: tokens::EntryStatus| v1::TokenEntry {
        scopes: entry.scopes.iter().map(str::to_owned).collect(),
        state: entry.state.to_owned(),
        lifetime_left: entry.lifetime_left.map(convert::seconds),
        generation: entry.generation,
        fingerprint: entry.fingerprint.unwrap_or_default(),
        last_error: entry.last_error.unwrap_or_default().to_owned(),
        last_error_detail: entry.last_error_detail.unwrap_or_default(),
        retry_in: entry.retry_in.map(convert::seconds),
        hits: entry.hits,
        upstream_requests: entry.upstream_requests,
    };
    v1::TokenStatus {
        name: token.name.to_string(),
        issuer: token.issuer.to_string(),
        client: token.client.to_string(),
        entries: token.entries.into_iter().map(entry).collect(),
    }
}
