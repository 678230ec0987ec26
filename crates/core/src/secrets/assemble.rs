//! From the references of the configuration to requests.
//!
//! Owns the grouping of references: all fields of one version of one secret come with one request. Carries over the cached
//! values of the same references and the state of the same backends, so that a reload during an outage loses nothing. Pure,
//! but for the slots and backends that it shares with the previous configuration.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use claviger_backend::{BackendName, SecretName, SecretRef, SecretSource, VersionSelector};
use tokio::sync::watch;

use crate::secrets::live::{Link, Slot};
use crate::secrets::origin::{Field, FieldProgress, Origin, Progress};
use crate::secrets::refetch::OriginRefetch;
use crate::secrets::settle::STALE_MOST;
use crate::secrets::upstream::{Target, Upstream};
use crate::secrets::{Index, Secrets, Shared, Wanted};
use claviger_runtime::clock::Moment;

/// A faster schedule would overload the backend.
const REFRESH_LEAST: Duration = Duration::from_secs(1);

/// The fields that the configuration refers to, of one version of one secret.
#[derive(Default)]
struct Group {
    refresh: Option<Duration>,
    fields: BTreeMap<SecretRef, (Duration, Vec<Arc<str>>)>,
}

pub(super) fn assemble(
    sources: BTreeMap<BackendName, Arc<dyn SecretSource>>,
    wanted: Vec<Wanted>,
    shared: Arc<Shared>,
    previous: Option<&Secrets>,
) -> Secrets {
    let upstreams: BTreeMap<_, _> = sources
        .into_iter()
        .map(|(name, source)| {
            let mut before = previous.iter().flat_map(|previous| &previous.upstreams);
            let upstream = match before.find(|upstream| upstream.is(&name, &source)) {
                Some(upstream) => Arc::clone(upstream),
                None => Arc::new(Upstream::new(name.clone(), source)),
            };
            (name, upstream)
        })
        .collect();
    let now = shared.clock.now();
    let mut origins = Vec::new();
    let (mut by_reference, mut by_name) = (HashMap::new(), HashMap::new());
    for ((backend, name, version), group) in group(wanted) {
        let Some(upstream) = upstreams.get(&backend) else {
            tracing::error!(%backend, "the configuration refers to a backend that it does not have");
            continue;
        };
        let target = Target {
            upstream: Arc::clone(upstream),
            name,
            version,
            refresh: group.refresh.unwrap_or(REFRESH_LEAST),
        };
        let origin = origin(target, group, previous, now);
        for (at, field) in origin.fields.iter().enumerate() {
            let index = Index {
                origin: origins.len(),
                field: at,
            };
            by_reference.insert(Arc::clone(&field.reference), index);
            by_name.extend(field.names.iter().map(|name| (Arc::clone(name), index)));
        }
        let origin = Arc::new(origin);
        let refetch = Arc::new(OriginRefetch::new(&shared, &origin));
        for field in &origin.fields {
            field.link.set(Arc::<OriginRefetch>::clone(&refetch));
        }
        origins.push(origin);
    }
    let unasked = origins.iter().filter(|origin| !origin.lock().asked).count();
    shared.unasked.send_replace(unasked);
    Secrets {
        shared,
        upstreams: upstreams.into_values().collect(),
        origins: origins.into(),
        by_reference,
        by_name,
    }
}

fn group(wanted: Vec<Wanted>) -> BTreeMap<(BackendName, SecretName, VersionSelector), Group> {
    let mut groups = BTreeMap::<_, Group>::new();
    for one in wanted {
        let SecretRef {
            backend,
            name,
            version,
            field: _,
        } = one.reference.clone();
        let group = groups.entry((backend, name, version)).or_default();
        let refresh = one.refresh.max(REFRESH_LEAST);
        group.refresh = Some(group.refresh.map_or(refresh, |other| other.min(refresh)));
        let max_stale = one.max_stale.min(STALE_MOST);
        let (bound, names) = group
            .fields
            .entry(one.reference)
            .or_insert_with(|| (max_stale, Vec::new()));
        *bound = (*bound).min(max_stale);
        names.extend(one.name);
    }
    groups
}

fn origin(target: Target, group: Group, previous: Option<&Secrets>, now: Moment) -> Origin {
    let mut progress = Progress::new(now.after(Duration::ZERO), 0);
    let mut all_held = true;
    let mut fields = Vec::with_capacity(group.fields.len());
    for (reference, (max_stale, names)) in group.fields {
        let before = previous.and_then(|previous| {
            let index = *previous.by_reference.get(&reference)?;
            let (origin, field) = previous.at(index)?;
            Some((origin, index.field, field))
        });
        let (slot, link, own) = match before {
            Some((origin, index, field)) => {
                inherit(&mut progress, origin, &target);
                let mut own = origin.lock().fields.get(index).cloned().unwrap_or_default();
                if !is_same_source(origin, &target) {
                    own.last = None;
                }
                rebind(&field.slot, max_stale);
                (Arc::clone(&field.slot), Arc::clone(&field.link), own)
            }
            None => (
                Arc::new(watch::Sender::new(empty(now))),
                Arc::<Link>::default(),
                FieldProgress::default(),
            ),
        };
        all_held &= slot.borrow().reading(now).is_ok();
        progress.fields.push(own);
        fields.push(Field {
            reference: Arc::new(reference),
            names,
            max_stale,
            slot,
            link,
        });
    }
    progress.asked = all_held;
    if !all_held {
        progress.next = now.after(Duration::ZERO);
    }
    Origin::new(target, fields, progress)
}

fn empty(now: Moment) -> Slot {
    Slot::Empty {
        kind: None,
        retry_at: now.after(Duration::ZERO),
    }
}

/// Continues the schedule of the previous configuration. Versions are compared only with those of the very same source: a
/// backend of the same name with another configuration may count otherwise, and is fetched from at once.
fn inherit(progress: &mut Progress, previous: &Origin, target: &Target) {
    if !is_same_source(previous, target) {
        return;
    }
    let before = previous.lock();
    progress.newest = before.newest;
    progress.confirmed_once = before.confirmed_once;
    progress.failures = before.failures;
    progress.reread_after = before.reread_after;
    if previous.target.refresh == target.refresh {
        progress.next = before.next;
    }
}

fn is_same_source(previous: &Origin, target: &Target) -> bool {
    Arc::ptr_eq(&previous.target.upstream, &target.upstream)
}

/// Applies another stale bound to the cached value, without waking watchers.
fn rebind(slot: &watch::Sender<Slot>, max_stale: Duration) {
    slot.send_if_modified(|slot| {
        if let Slot::Held {
            confirmed,
            stale_from,
            until,
            ..
        } = slot
        {
            *until = confirmed.after(max_stale);
            *stale_from = stale_from.min(*until);
        }
        false
    });
}
