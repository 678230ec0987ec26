//! What the answer to a flight does to its entry.
//!
//! Owns the one place where tokens enter memory. A token that lives for no time is handed to those who waited and not kept;
//! the very same token as before keeps its generation; a failure leaves what is held to its floor. Runs under the entry's
//! lock, without waiting.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use claviger_runtime::clock::{Moment, Roll};

use crate::tokens::entry::{Core, Entry};
use crate::tokens::flight::Failure;
use crate::tokens::held::Held;
use crate::tokens::source::{self, Issued, Verdict};
use crate::tokens::state::{self, Event, Retry, Terms};
use crate::tokens::supply::Supply;
use crate::tokens::{NEGATIVE, Shared};

impl Entry {
    /// Takes note of an answer, and says what those who waited get.
    pub(super) fn land(
        &self,
        shared: &Shared,
        supply: &Supply,
        credential: u64,
        answer: Result<Issued, source::Error>,
    ) -> Result<Arc<Held>, Failure> {
        let now = shared.clock.now();
        let mut core = self.lock();
        core.flight = None;
        core.tried = Some(credential);
        match answer {
            Ok(issued) => {
                let held = self.held(&core, shared, supply, (issued, credential, now));
                Ok(self.keep(&mut core, supply, Arc::new(held), now))
            }
            Err(error) => Err(self.fail(&mut core, supply, (error, credential, now))),
        }
    }

    fn held(
        &self,
        core: &Core,
        shared: &Shared,
        supply: &Supply,
        (issued, credential, now): (Issued, u64, Moment),
    ) -> Held {
        let fingerprint = shared.fingerprints.of(&issued.access_token);
        let repeated = core.last.as_ref().filter(|(last, _)| *last == fingerprint);
        let generation = match repeated {
            Some((_, generation)) => *generation,
            None => supply.next_generation(),
        };
        let expires_no_later = |old: &Arc<Held>| issued.expires.left(now) <= old.expires.left(now);
        let repeated = repeated.is_some();
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
                    .as_ref()
                    .is_some_and(expires_no_later),
        };
        let (life, refresh_at) = state::timing(&terms, now, Roll::random());
        Held {
            access_token: issued.access_token,
            token_type: issued.token_type,
            scopes: issued.scopes,
            generation,
            fingerprint,
            expires: issued.expires,
            lifetime: issued.lifetime,
            sent: issued.sent,
            life,
            refresh_at,
            credential,
            repeated,
            replacement: core.replacing,
            rendered: OnceLock::new(),
        }
    }

    fn keep(&self, core: &mut Core, supply: &Supply, held: Arc<Held>, now: Moment) -> Arc<Held> {
        core.last = Some((held.fingerprint.clone(), held.generation));
        core.replacing = false;
        let recovered = core.last_error.take().is_some();
        let name = &supply.definition.name;
        if !held.life.serves(now) {
            tracing::warn!(token = %name, fingerprint = held.fingerprint, "the issuer gave a token that lives for no time; it is not kept");
            self.step(core, Event::Spent, now);
            return held;
        }
        if recovered {
            tracing::info!(token = %name, "the issuer gives tokens again");
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
            self.tell();
        }
        held
    }

    fn fail(
        &self,
        core: &mut Core,
        supply: &Supply,
        (error, credential, now): (source::Error, u64, Moment),
    ) -> Failure {
        let verdict = error.kind.verdict();
        let before = core.state.retry().map_or(0, |retry| retry.attempts);
        let attempts = before.saturating_add(1);
        let roll = Roll::random();
        let pause = state::pause(verdict, attempts, NEGATIVE, roll);
        let retry = Retry {
            at: now.after(pause),
            attempts,
            terminal: verdict == Verdict::Terminal,
            credential,
        };
        self.step(core, Event::Failed(retry), now);
        let known = core.last_error.as_ref().map(|error| error.kind.as_str());
        if known != Some(error.kind.as_str()) {
            tracing::warn!(
                token = %supply.definition.name, %error, still_served = core.state.life().is_some(),
                "the issuer gave no token"
            );
        }
        core.last_error = Some(error.clone());
        Failure {
            error,
            retry_at: retry.at,
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
