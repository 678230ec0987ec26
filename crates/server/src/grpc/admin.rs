//! `claviger.v1.Admin`.

use std::sync::Arc;

use claviger_proto::v1::{self, admin_server::Admin};
use futures_util::future::join_all;
use tonic::{Request, Response, Status};

use crate::grpc::{convert, status};
use crate::operator::{IssuerOverview, Overview};
use crate::route::Route;
use claviger_core::broker::{Refreshed, Unknown};
use claviger_core::peer::{Cgroup, Facts};
use claviger_core::policy::Action;
use claviger_core::{secrets, tokens};

/// The most names that one refresh may list.
const MOST_NAMES: usize = 256;

/// The service on one connection.
pub(crate) struct Service {
    pub(crate) route: Route,
}

#[tonic::async_trait]
impl Admin for Service {
    async fn status(
        &self,
        _request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        self.confirm()?;
        let shared = &self.route.shared;
        let overview = shared.operator.overview();
        let world = shared.broker.world();
        Ok(Response::new(v1::StatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started_at: Some(convert::system_time(overview.started)),
            ready: overview.ready,
            config_path: overview.config_path.display().to_string(),
            config_digest: overview.config_digest.clone(),
            config_loaded_at: Some(convert::system_time(overview.config_loaded)),
            backends: backends(&overview, &world.secrets.backends()),
            issuers: overview.issuers.iter().map(issuer).collect(),
            secrets: world.secrets.status().into_iter().map(secret).collect(),
            tokens: world.tokens.status().into_iter().map(token).collect(),
            server: Some(self.server()),
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
        }))
    }

    async fn explain(
        &self,
        request: Request<v1::ExplainRequest>,
    ) -> Result<Response<v1::ExplainResponse>, Status> {
        self.confirm()?;
        let request = request.into_inner();
        let action = action(&request.action)?;
        let name = convert::name(&request.name).map_err(invalid)?;
        let scopes = convert::scopes(&request.scopes).map_err(invalid)?;
        let facts = match request.pid {
            0 => described(request.peer.unwrap_or_default()),
            pid => Facts::of_pid(pid, &self.route.shared.peers)
                .await
                .map_err(|_gone| {
                    status::invalid("pid", "no such process, or it cannot be identified")
                })?,
        };
        let explained = self
            .route
            .shared
            .broker
            .explain(&facts, action, name, &scopes);
        let explanation = explained.explanation;
        let (rule, reason) = match (&explanation.decision, &explained.unknown) {
            (Ok(rule), _) => (*rule, format!("rule {rule} allows it")),
            (Err(_), Some(unknown)) => (0, missing(action, name, unknown)),
            (Err(denial), None) => (0, denial.to_string()),
        };
        let rules = (1_u32..)
            .zip(explanation.rules)
            .map(|(rule, verdict)| v1::RuleVerdict {
                rule,
                selects_peer: verdict.selects_peer,
                allows: verdict.allows,
                detail: verdict.detail,
            })
            .collect();
        Ok(Response::new(v1::ExplainResponse {
            allowed: explanation.decision.is_ok(),
            rule,
            reason,
            rules,
            peer: Some(description(&facts)),
            scopes: explained
                .scopes
                .map(|scopes| scopes.iter().map(str::to_owned).collect())
                .unwrap_or_default(),
        }))
    }

    async fn refresh(
        &self,
        request: Request<v1::RefreshRequest>,
    ) -> Result<Response<v1::RefreshResponse>, Status> {
        self.confirm()?;
        let v1::RefreshRequest { names, issuers } = request.into_inner();
        for (field, wished) in [("names", &names), ("issuers", &issuers)] {
            if wished.len() > MOST_NAMES {
                return Err(status::invalid(field, "at most 256 names at once"));
            }
        }
        let shared = &self.route.shared;
        // Issuers first: a token that is renewed should be asked for where they are now.
        let asked = issuers.into_iter().map(|name| async {
            let outcome = shared.operator.refresh_issuer(&name).await;
            let outcome = outcome.map_err(|error| (error.as_str(), error.remedy()));
            Refreshed { name, outcome }
        });
        let mut results = join_all(asked).await;
        if results.is_empty() || !names.is_empty() {
            results.extend(shared.broker.refresh(&names).await);
        }
        let results = results.into_iter().map(refreshed).collect();
        Ok(Response::new(v1::RefreshResponse { results }))
    }

    async fn reload(
        &self,
        request: Request<v1::ReloadRequest>,
    ) -> Result<Response<v1::ReloadResponse>, Status> {
        self.confirm()?;
        let dry_run = request.into_inner().dry_run;
        let operator = Arc::clone(&self.route.shared.operator);
        let response = match operator.reload(dry_run).await {
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

impl Service {
    fn confirm(&self) -> Result<(), Status> {
        self.route
            .session
            .confirm()
            .map_err(|error| status::of(&error))
    }

    fn server(&self) -> v1::ServerStatus {
        let shared = &self.route.shared;
        let (answered, denied, failed) = shared.broker.metrics().read();
        v1::ServerStatus {
            broker_socket: shared.settings.socket.display().to_string(),
            admin_socket: shared.settings.admin_socket.display().to_string(),
            connections: u32::try_from(shared.metrics.open()).unwrap_or(u32::MAX),
            connections_refused: shared.metrics.refused(),
            requests_answered: answered,
            requests_denied: denied,
            requests_failed: failed,
        }
    }
}

fn invalid((field, problem): convert::Problem) -> Status {
    status::invalid(field, problem)
}

fn refreshed(result: Refreshed) -> v1::RefreshResult {
    let (error, remedy) = result.outcome.err().unwrap_or_default();
    v1::RefreshResult {
        name: result.name,
        ok: result.outcome.is_ok(),
        changed: result.outcome.unwrap_or(false),
        error: error.to_owned(),
        remedy: remedy.to_owned(),
    }
}

fn action(word: &str) -> Result<Action, Status> {
    [Action::Token, Action::Secret, Action::Revoke]
        .into_iter()
        .find(|action| action.as_str() == word)
        .ok_or_else(|| status::invalid("action", "expected \"token\", \"secret\" or \"revoke\""))
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

fn backends(overview: &Overview, health: &[secrets::BackendHealth]) -> Vec<v1::BackendStatus> {
    health
        .iter()
        .map(|backend| v1::BackendStatus {
            name: backend.name.to_string(),
            kind: overview
                .backend_kinds
                .iter()
                .find(|(name, _)| name == backend.name.as_str())
                .map(|(_, kind)| (*kind).to_owned())
                .unwrap_or_default(),
            reachable: backend.reachable,
            last_error: backend
                .last_error
                .map(|kind| kind.as_str().to_owned())
                .unwrap_or_default(),
            last_success: backend.last_success.map(convert::moment),
        })
        .collect()
}

fn issuer(issuer: &IssuerOverview) -> v1::IssuerStatus {
    let metadata = issuer.metadata.as_ref();
    v1::IssuerStatus {
        name: issuer.name.to_string(),
        issuer: issuer.issuer.clone(),
        discovered: metadata.is_some(),
        last_error: issuer.last_error.unwrap_or_default().to_owned(),
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
