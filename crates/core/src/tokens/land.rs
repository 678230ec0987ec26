//! What an issuer's answer does to its entry.
//!
//! Owns the one place where tokens enter the cache. A token that has expired already is answered to the callers who waited and
//! not cached; the same token as before keeps its generation; after a failure the cached token is served to its floor. Runs
//! under the entry's lock, without waiting.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use claviger_runtime::clock::{Moment, Roll};
use claviger_runtime::reason::Reasoned as _;

use crate::tokens::entry::{Core, Entry, Last};
use crate::tokens::flight::Failure;
use crate::tokens::held::Held;
use crate::tokens::source::{self, Issued, Verdict};
use crate::tokens::state::{self, Event, Retry, Terms};
use crate::tokens::supply::Supply;
use crate::tokens::{NEGATIVE, Shared};

impl Entry {
    /// Notes an answer, and returns what the callers who waited receive.
    pub(super) fn land(
        &self,
        shared: &Shared,
        supply: &Supply,
        answer: Result<Issued, source::Error>,
    ) -> Result<Arc<Held>, Failure> {
        let now = shared.clock.now();
        let mut core = self.lock();
        core.flight = None;
        match answer {
            Ok(issued) => {
                core.tried = Some(issued.credential);
                let fingerprint = shared.fingerprints.of(&issued.access_token);
                let identified = core.identify(fingerprint, supply);
                let held = self.held(&core, issued, identified, now);
                Ok(self.keep(&mut core, supply, Arc::new(held), now))
            }
            Err(error) => {
                core.tried = Some(error.credential);
                Err(self.fail(&mut core, supply, error, now))
            }
        }
    }

    fn held(
        &self,
        core: &Core,
        issued: Issued,
        Identified { token, repeated }: Identified,
        now: Moment,
    ) -> Held {
        let terms = Terms {
            sent: issued.sent,
            lifetime: issued.lifetime,
            expires: issued.expires,
            refresh_in: issued.refresh_in,
            same: repeated,
            no_gain: repeated
                || self
                    .current
                    .load_full()
                    .is_some_and(|old| issued.expires.left(now) <= old.expires.left(now)),
        };
        let (life, refresh_at) = state::timing(&terms, now, Roll::random());
        Held {
            access_token: issued.access_token,
            binding: issued.binding,
            scopes: issued.scopes,
            generation: token.generation,
            fingerprint: token.fingerprint,
            expires: issued.expires,
            lifetime: issued.lifetime,
            sent: issued.sent,
            life,
            refresh_at,
            credential: issued.credential,
            repeated,
            replacement: core.replacing,
            rendered: OnceLock::new(),
        }
    }

    fn keep(&self, core: &mut Core, supply: &Supply, held: Arc<Held>, now: Moment) -> Arc<Held> {
        core.last = Some(Last {
            fingerprint: held.fingerprint.clone(),
            generation: held.generation,
        });
        core.replacing = false;
        let recovered = core.last_error.take().is_some();
        let name = &supply.definition.name;
        if !held.life.serves(now) {
            tracing::warn!(token = %name, fingerprint = held.fingerprint, "the issuer returned an already expired token; not cached");
            self.step(core, Event::Spent, now);
            return held;
        }
        if recovered {
            tracing::info!(token = %name, "the issuer issues tokens again");
        }
        tracing::debug!(
            token = %name, fingerprint = held.fingerprint, generation = held.generation,
            expires_in_seconds = held.expires.left(now).as_secs(), "token obtained"
        );
        core.state = core.state.step(
            Event::Issued {
                life: held.life,
                refresh_at: held.refresh_at,
            },
            now,
        );
        let before = self.current.swap(Some(Arc::clone(&held)));
        if before.is_none_or(|before| before.generation != held.generation) {
            self.notify();
        }
        held
    }

    fn fail(&self, core: &mut Core, supply: &Supply, error: source::Error, now: Moment) -> Failure {
        let verdict = error.verdict;
        let before = core.state.retry().map_or(0, |retry| retry.attempts);
        let attempts = before.saturating_add(1);
        let roll = Roll::random();
        let pause = state::pause(verdict, attempts, NEGATIVE, roll);
        let retry = Retry {
            at: now.after(pause),
            attempts,
            terminal: verdict == Verdict::Terminal,
            credential: error.credential,
        };
        self.step(core, Event::Failed(retry), now);
        let known = core.last_error.as_ref().map(|error| error.kind.as_str());
        if known != Some(error.kind.as_str()) {
            tracing::warn!(
                token = %supply.definition.name, %error, remedy = error.remedy(), still_served = core.state.life().is_some(),
                "the issuer issued no token"
            );
        }
        core.last_error = Some(error.clone());
        Failure {
            error: Box::new(error),
            retry_at: retry.at,
        }
    }
}

/// Which token was issued.
struct Identified {
    token: Last,
    /// Whether it is the same token as before.
    repeated: bool,
}

impl Core {
    /// The token with this fingerprint: the last one, or a new generation.
    fn identify(&self, fingerprint: String, supply: &Supply) -> Identified {
        let same = self
            .last
            .as_ref()
            .filter(|last| last.fingerprint == fingerprint);
        Identified {
            repeated: same.is_some(),
            token: Last {
                generation: same.map_or_else(|| supply.next_generation(), |last| last.generation),
                fingerprint,
            },
        }
    }
}

impl Supply {
    fn next_generation(&self) -> u64 {
        self.generations
            .fetch_add(1, Ordering::Relaxed)
            .wrapping_add(1)
    }
}
