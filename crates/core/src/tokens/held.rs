//! A token in memory, and the answer that carries it.
//!
//! Owns [`Held`], one token of one generation with its facts, and its fingerprint: a keyed hash that names the
//! token in logs and reports. The key is random and lives in secret pages as long as the process, so a fingerprint proves
//! nothing elsewhere.
//! A held token is immutable and shared by `Arc`; it is zeroed when the last reference is dropped.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_lc_rs::{hmac, rand};
use bytes::Bytes;
use claviger_backend::Secret;

use crate::secrets::Freshness;
use crate::tokens::source::Binding;
use crate::tokens::state::Life;
use claviger_kernel::{Backing, PagesError, SecretPages};
use claviger_oauth_wire::Scopes;
use claviger_runtime::clock::{Deadline, Moment};

/// The size of the key.
const KEY_BYTES: usize = 32;

/// Why tokens cannot be given fingerprints.
#[derive(Debug, thiserror::Error)]
pub enum NoFingerprints {
    /// There are no random bytes for a key.
    #[error("the system gives no random numbers")]
    Randomness,
    /// There is no protected memory for the key. The text says what to do.
    #[error("cannot get protected memory for the key of fingerprints")]
    Place(#[from] PagesError),
}

/// A token, as it is answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The token.
    pub token: Arc<Held>,
    /// The lifetime left when the answer was made.
    pub lifetime_left: Duration,
    /// Where it came from.
    pub freshness: Freshness,
}

impl Answer {
    pub(super) fn new(token: Arc<Held>, freshness: Freshness, now: Moment) -> Self {
        Self {
            lifetime_left: token.expires.left(now),
            token,
            freshness,
        }
    }
}

/// One token of one generation.
pub struct Held {
    pub(super) access_token: Secret,
    pub(super) binding: Binding,
    pub(super) scopes: Scopes,
    pub(super) generation: u64,
    pub(super) fingerprint: String,
    pub(super) expires: Deadline,
    /// The lifetime it had when it was issued.
    pub(super) lifetime: Duration,
    pub(super) sent: Moment,
    pub(super) life: Life,
    /// When it should be renewed.
    pub(super) refresh_at: Deadline,
    /// The newest credential when it was issued.
    pub(super) credential: u64,
    /// Whether the issuer gave the very same token before.
    pub(super) repeated: bool,
    /// Whether it was obtained because its predecessor was rejected.
    pub(super) replacement: bool,
    pub(super) rendered: OnceLock<Bytes>,
}

impl Held {
    /// The token.
    #[must_use]
    pub fn access_token(&self) -> &Secret {
        &self.access_token
    }

    /// How to present it (RFC 6749 §7.1): `Bearer`.
    #[must_use]
    pub fn token_type(&self) -> &'static str {
        self.binding.token_type()
    }

    /// The scopes that the issuer granted.
    #[must_use]
    pub fn scopes(&self) -> &Scopes {
        &self.scopes
    }

    /// When it expires.
    #[must_use]
    pub fn expires(&self) -> Deadline {
        self.expires
    }

    /// Counts the tokens of this name since the daemon started. A larger one is newer.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Names the token without disclosing it.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The token as `render` encodes it: made once, cached beside the token and zeroed with it. `render` must not depend on
    /// anything that changes in the token's lifetime, because all callers share the first result.
    pub fn rendered(&self, render: impl FnOnce(&Self) -> Bytes) -> &Bytes {
        self.rendered.get_or_init(|| render(self))
    }
}

/// By hand: the rendered bytes contain the token.
impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held")
            .field("fingerprint", &self.fingerprint)
            .field("generation", &self.generation)
            .field("scopes", &self.scopes)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// Makes fingerprints of tokens, which are comparable only with those of the same value. One for the life of a daemon.
pub struct Fingerprints {
    key: SecretPages,
}

/// By hand: the key is not printed.
impl fmt::Debug for Fingerprints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fingerprints").finish_non_exhaustive()
    }
}

impl Fingerprints {
    /// With a new random key.
    ///
    /// # Errors
    /// If the kernel gives no randomness or no memory for the key.
    pub fn new() -> Result<Self, NoFingerprints> {
        let mut drawn = Err(NoFingerprints::Randomness);
        let key = SecretPages::filled(KEY_BYTES, |bytes| {
            drawn = rand::fill(bytes).map_err(|_says_nothing| NoFingerprints::Randomness);
        })?;
        drawn?;
        if key.backing() == Backing::LockedMemory {
            tracing::warn!(
                target: "claviger",
                remedy = Backing::REMEDY,
                "the kernel gives no secret memory; the key of fingerprints is in locked memory, which root can read"
            );
        }
        Ok(Self { key })
    }

    /// The fingerprint of a token. The hash is made from the key each time: one token in minutes is not worth a second copy.
    pub(super) fn of(&self, token: &Secret) -> String {
        let key = self
            .key
            .with(|bytes| hmac::Key::new(hmac::HMAC_SHA256, bytes));
        #[expect(
            clippy::disallowed_methods,
            reason = "a fingerprint is a hash of the token"
        )]
        let tag = hmac::sign(&key, token.expose());
        // Half of the hash: enough that no two tokens have the same.
        let head = tag.as_ref().first_chunk().copied().unwrap_or_default();
        format!("hmac-sha256:{:032x}", u128::from_be_bytes(head))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_stable_keyed_and_short() {
        let fingerprints = Fingerprints::new().unwrap();
        let of = |text: &str| fingerprints.of(&Secret::from_text(text.to_owned()));
        assert_eq!(of("a"), of("a"));
        assert_ne!(of("a"), of("b"));
        let other = Fingerprints::new().unwrap();
        assert_ne!(of("a"), other.of(&Secret::from_text("a".to_owned())));
        let hex = of("a").strip_prefix("hmac-sha256:").unwrap().to_owned();
        assert!(hex.len() == 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
}
