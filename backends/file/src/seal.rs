//! Sealing: keys, and the encryption of records.
//!
//! Owns the header of a generation (how its keys are derived), the derived [`Keys`], and the format of a record. The keys are
//! derived directly into the memory that a `KeyKeeper` allocates; ciphers and hashes are built from them for one operation and
//! zeroed after it, so no other copy of a key exists while the store is open. The format, kind, subject, version and key of a
//! record are authenticated with it (AES-256-GCM, NIST SP 800-38D), so a record that is renamed, swapped with another or copied
//! from another generation does not open. Never touches a file. Any bytes yield a record, a header or a [`Damage`], never a
//! panic.
//!
//! Each generation derives its own keys (HKDF, RFC 5869, salted with the whole header), so the number of records per key stays
//! far below the limit of 2^32 for random 96-bit nonces.

use std::fmt;

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{digest, hkdf, hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use claviger_backend::{KeptKey, KeyKeeper, Secret};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use crate::config::{KEY_BYTES, Unsealer};
use crate::error::{Damage, Error};

/// The format version of headers and records.
const FORMAT: u8 = 1;
const MAGIC: &[u8; 4] = b"clvg";
const TAG_LEN: usize = 16;

/// How many bytes a record is larger than its plaintext.
pub(crate) const OVERHEAD: usize = MAGIC.len() + 2 + NONCE_LEN + TAG_LEN;

/// The cost of one guess of a passphrase, and of opening a store (RFC 9106 §4, second recommendation).
const COST: Cost = Cost {
    memory_kib: 64 * 1024,
    passes: 3,
    lanes: 1,
};

/// The purpose of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum RecordKind {
    /// Proves that a key is the one of the generation.
    Check = 1,
    /// The files of the generation, with their counters.
    Roster = 2,
    /// The versions of one secret.
    Index = 3,
    /// One value.
    Value = 4,
    /// A control document.
    Document = 5,
}

/// The identity of a record within its generation, which is authenticated with it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Label<'a> {
    pub(crate) kind: RecordKind,
    /// The keyed hash of a secret's name, or nothing.
    pub(crate) subject: &'a str,
    /// The version of a value, or nothing.
    pub(crate) version: &'a str,
}

/// How the keys of a generation are derived from the operator's key or passphrase. Not secret; every byte of it goes into the
/// keys.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Header {
    format: u8,
    /// 32 random bytes in base64.
    salt: String,
    /// The parameters for stretching the passphrase; absent if the store opens with a key file.
    #[serde(skip_serializing_if = "Option::is_none")]
    argon2id: Option<Cost>,
}

/// The parameters of Argon2id (RFC 9106).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl Cost {
    /// Whether the parameters are within limits. A header is parsed before anything is authenticated; the limits keep a forged
    /// header from taking more than a moment, and from exceeding the 256 MiB of memory that the unit allows the daemon.
    fn is_within_limits(self) -> bool {
        (8 * 1024..=128 * 1024).contains(&self.memory_kib)
            && (1..=10).contains(&self.passes)
            && (1..=4).contains(&self.lanes)
    }
}

impl Header {
    /// A header for a new generation, with a fresh salt.
    pub(crate) fn new(unsealer: &Unsealer) -> Result<Self, Error> {
        let mut salt = [0; KEY_BYTES];
        rand::fill(&mut salt).map_err(|_unspecified| Error::Crypto)?;
        Ok(Self {
            format: FORMAT,
            salt: STANDARD.encode(salt),
            argon2id: match unsealer {
                Unsealer::Key(_) => None,
                Unsealer::Passphrase(_) => Some(COST),
            },
        })
    }

    /// The kind of key that the generation opens with, in words.
    pub(crate) fn sort(&self) -> &'static str {
        match self.argon2id {
            Some(_) => "passphrase",
            None => "key file",
        }
    }

    /// The contents of the file: a line of JSON, and a line with its SHA-256, which distinguishes damage from a wrong key.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let mut bytes = serde_json::to_vec(self).map_err(|_plain_data| Error::Crypto)?;
        let sum = hex(digest::digest(&digest::SHA256, &bytes).as_ref());
        bytes.push(b'\n');
        bytes.extend_from_slice(sum.as_bytes());
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Parses the contents of the file.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, Damage> {
        let mut lines = bytes.split(|byte| *byte == b'\n');
        let (Some(json), Some(sum), Some(b""), None) =
            (lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(Damage::Foreign);
        };
        if sum != hex(digest::digest(&digest::SHA256, json).as_ref()).as_bytes() {
            return Err(Damage::Altered);
        }
        let header: Self = serde_json::from_slice(json).map_err(|_syntax| Damage::Contents)?;
        if header.format != FORMAT {
            return Err(Damage::Format(header.format));
        }
        match header.argon2id {
            Some(cost) if !cost.is_within_limits() => Err(Damage::Contents),
            _ => Ok(header),
        }
    }

    /// Derives the keys of the generation into memory of `keeper`. With a passphrase this takes a large part of a second and 64
    /// MiB.
    pub(crate) fn derive(
        &self,
        unsealer: &Unsealer,
        keeper: &dyn KeyKeeper,
    ) -> Result<Keys, Error> {
        #[expect(
            clippy::disallowed_methods,
            reason = "the key or passphrase becomes the keys of the store"
        )]
        match (unsealer, self.argon2id) {
            (Unsealer::Passphrase(passphrase), Some(cost)) => {
                let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, None);
                let hash = Argon2::new(
                    Algorithm::Argon2id,
                    Version::V0x13,
                    params.map_err(|_checked| Error::Crypto)?,
                );
                let mut master = Zeroizing::new([0; KEY_BYTES]);
                hash.hash_password_into(
                    passphrase.expose(),
                    self.salt.as_bytes(),
                    master.as_mut_slice(),
                )
                .map_err(|_checked| Error::Crypto)?;
                self.expand(master.as_slice(), keeper)
            }
            (Unsealer::Key(key), _) => self.expand(key.expose(), keeper),
            (Unsealer::Passphrase(passphrase), None) => self.expand(passphrase.expose(), keeper),
        }
    }

    fn expand(&self, master: &[u8], keeper: &dyn KeyKeeper) -> Result<Keys, Error> {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, &self.to_bytes()?);
        let root = salt.extract(master);
        let derive = |purpose: &[u8], out: &mut [u8]| {
            root.expand(&[purpose], Length(out.len()))
                .and_then(|key| key.fill(out))
                .map_err(|_unspecified| Error::Crypto)
        };
        let mut id = [0; 8];
        derive(b"claviger file: key id", &mut id)?;
        let mut derived = Err(Error::Crypto);
        let kept = keeper.keep(2 * KEY_BYTES, &mut |place| {
            let (record, name) = place.split_at_mut(place.len() / 2);
            derived = derive(b"claviger file: records", record)
                .and_then(|()| derive(b"claviger file: names", name));
        });
        let kept = kept.map_err(Error::NotKept)?;
        derived?;
        Ok(Keys { kept, id })
    }
}

/// The length of a derived key, as a type that HKDF accepts.
struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// The keys of one generation.
pub(crate) struct Keys {
    /// The key that seals records, then the key that hashes names, so that file names do not reveal the names. One allocation,
    /// because each may take a page.
    kept: Box<dyn KeptKey>,
    /// Distinguishes generations; not a secret.
    id: [u8; 8],
}

/// By hand, because keys must not be printed.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

impl Keys {
    /// The name of the files of a secret: 64 hexadecimal digits.
    pub(crate) fn subject(&self, name: &str) -> String {
        let (_record, key) = self.both();
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        hex(hmac::sign(&key, name.as_bytes()).as_ref())
    }

    /// Seals a value.
    pub(crate) fn seal_value(&self, label: Label<'_>, value: &Secret) -> Result<Vec<u8>, Error> {
        #[expect(
            clippy::disallowed_methods,
            reason = "the value is encrypted into its record"
        )]
        self.seal(label, value.expose())
    }

    /// Seals `plaintext` into a record that opens only with the same label.
    pub(crate) fn seal(&self, label: Label<'_>, plaintext: &[u8]) -> Result<Vec<u8>, Error> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_unspecified| Error::Crypto)?;
        let mut record = Vec::with_capacity(plaintext.len().saturating_add(OVERHEAD));
        record.extend_from_slice(MAGIC);
        record.extend_from_slice(&[FORMAT, label.kind as u8]);
        record.extend_from_slice(&nonce);
        let head = record.len();
        record.extend_from_slice(plaintext);
        let body = record.get_mut(head..).ok_or(Error::Crypto)?;
        let tag = self.cipher()?.seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(self.bound(label)),
            body,
        );
        match tag {
            Ok(tag) => {
                record.extend_from_slice(tag.as_ref());
                Ok(record)
            }
            Err(_unspecified) => {
                record.zeroize();
                Err(Error::Crypto)
            }
        }
    }

    /// Opens the record of a value.
    pub(crate) fn open_value(&self, label: Label<'_>, record: Vec<u8>) -> Result<Secret, Damage> {
        self.open(label, record).map(Secret::new)
    }

    /// Opens a record.
    pub(crate) fn open(&self, label: Label<'_>, mut record: Vec<u8>) -> Result<Vec<u8>, Damage> {
        let Some((magic, rest)) = record.split_first_chunk_mut::<4>() else {
            return Err(Damage::Altered);
        };
        let Some(([format, kind], rest)) = rest.split_first_chunk_mut::<2>() else {
            return Err(Damage::Altered);
        };
        if magic != MAGIC {
            return Err(Damage::Foreign);
        }
        if *format != FORMAT {
            return Err(Damage::Format(*format));
        }
        if *kind != label.kind as u8 {
            return Err(Damage::Foreign);
        }
        let Some((nonce, body)) = rest.split_first_chunk_mut::<NONCE_LEN>() else {
            return Err(Damage::Altered);
        };
        let opened = self.cipher().map_err(|_memory| Damage::Altered)?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        // Decryption writes the plaintext into `body`; it is copied into a buffer of its exact size, and `record` is zeroed.
        let plaintext = opened
            .open_in_place(nonce, Aad::from(self.bound(label)), body)
            .map(|plaintext| plaintext.to_vec());
        record.zeroize();
        plaintext.map_err(|_unspecified| Damage::Altered)
    }

    fn cipher(&self) -> Result<LessSafeKey, Error> {
        let (key, _name) = self.both();
        UnboundKey::new(&AES_256_GCM, key)
            .map(LessSafeKey::new)
            .map_err(|_unspecified| Error::Crypto)
    }

    /// The key that seals records, and the key that hashes names.
    fn both(&self) -> (&[u8], &[u8]) {
        #[expect(
            clippy::disallowed_methods,
            reason = "the keys are used in a cipher or a hash, for one operation"
        )]
        let kept = self.kept.expose();
        kept.split_at(kept.len() / 2)
    }

    /// The additional authenticated data. Texts are prefixed with their lengths, so no two labels encode to the same bytes.
    fn bound(&self, label: Label<'_>) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend_from_slice(b"claviger file record");
        bytes.extend_from_slice(&[FORMAT, label.kind as u8]);
        bytes.extend_from_slice(&self.id);
        for text in [label.subject, label.version] {
            bytes.extend_from_slice(&u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        bytes
    }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
    ];
    let digit = |value: u8| DIGITS.get(usize::from(value)).copied();
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .flatten()
        .collect()
}

/// `N` random bytes as hexadecimal digits.
pub(crate) fn random_hex<const N: usize>() -> Result<String, Error> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_unspecified| Error::Crypto)?;
    Ok(hex(&bytes))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use claviger_backend::{HeapKeeper, NotKept};
    use proptest::prelude::*;

    use super::*;

    const LABEL: Label<'_> = Label {
        kind: RecordKind::Value,
        subject: "ab",
        version: "1",
    };

    fn key(byte: u8) -> Unsealer {
        Unsealer::Key(Secret::new(vec![byte; KEY_BYTES]))
    }

    fn derived(header: &Header, unsealer: &Unsealer) -> Keys {
        header.derive(unsealer, &HeapKeeper).unwrap()
    }

    fn keys() -> Keys {
        derived(&Header::new(&key(7)).unwrap(), &key(7))
    }

    #[test]
    fn a_record_opens_with_its_own_label_and_keys_only() {
        let keys = keys();
        let record = keys.seal(LABEL, b"value\n").unwrap();
        assert_eq!(record.len(), OVERHEAD + 6);
        assert_eq!(keys.open(LABEL, record.clone()).unwrap(), b"value\n");
        let label = |kind, subject, version| Label {
            kind,
            subject,
            version,
        };
        for (other, damage) in [
            (label(RecordKind::Value, "ab", "2"), Damage::Altered),
            (label(RecordKind::Value, "a", "b1"), Damage::Altered),
            (label(RecordKind::Value, "ab1", ""), Damage::Altered),
            (label(RecordKind::Index, "ab", "1"), Damage::Foreign),
        ] {
            assert_eq!(keys.open(other, record.clone()).unwrap_err(), damage);
        }
        let header = Header::new(&key(7)).unwrap();
        let next_generation = derived(&header, &key(7));
        assert!(next_generation.open(LABEL, record).is_err());
    }

    #[test]
    fn ciphertexts_and_name_hashes_never_repeat() {
        let keys = keys();
        assert_ne!(
            keys.seal(LABEL, b"x").unwrap(),
            keys.seal(LABEL, b"x").unwrap()
        );
        assert_ne!(keys.subject("a"), keys.subject("b"));
        let other = self::keys();
        assert_ne!(keys.subject("a"), other.subject("a"));
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_of_a_record_is_detected() {
        let keys = keys();
        let record = keys.seal(LABEL, b"the value").unwrap();
        for at in 0..record.len() * 8 {
            let mut flipped = record.clone();
            flipped[at / 8] ^= 1 << (at % 8);
            assert!(keys.open(LABEL, flipped).is_err(), "bit {at}");
        }
        for length in 0..record.len() {
            assert!(keys.open(LABEL, record[..length].to_vec()).is_err());
        }
    }

    #[test]
    fn a_header_round_trips_and_every_flipped_bit_is_detected() {
        let passphrase = Unsealer::Passphrase(Arc::new(Secret::from_text("correct horse".into())));
        for unsealer in [key(1), passphrase] {
            let header = Header::new(&unsealer).unwrap();
            let bytes = header.to_bytes().unwrap();
            assert_eq!(Header::from_bytes(&bytes), Ok(header));
            for at in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                flipped[at / 8] ^= 1 << (at % 8);
                assert!(Header::from_bytes(&flipped).is_err(), "bit {at}");
            }
            for length in 0..bytes.len() {
                assert!(Header::from_bytes(&bytes[..length]).is_err());
            }
        }
    }

    #[test]
    fn a_forged_header_cannot_demand_unlimited_work() {
        let salt = STANDARD.encode([1; 32]);
        for (memory_kib, passes, lanes) in [
            (u32::MAX, 3, 1),
            (256 * 1024, 3, 1),
            (1024, 3, 1),
            (65536, 1000, 1),
            (65536, 0, 1),
            (65536, 3, 255),
        ] {
            let header = Header {
                format: FORMAT,
                salt: salt.clone(),
                argon2id: Some(Cost {
                    memory_kib,
                    passes,
                    lanes,
                }),
            };
            let bytes = header.to_bytes().unwrap();
            assert_eq!(Header::from_bytes(&bytes), Err(Damage::Contents));
        }
        let newer = Header {
            format: 9,
            salt,
            argon2id: None,
        };
        let bytes = newer.to_bytes().unwrap();
        assert_eq!(Header::from_bytes(&bytes), Err(Damage::Format(9)));
    }

    #[test]
    fn a_passphrase_gives_the_same_keys_every_time() {
        let typed = |text: &str| Unsealer::Passphrase(Arc::new(Secret::from_text(text.into())));
        let header = Header::new(&typed("correct horse")).unwrap();
        let keys = derived(&header, &typed("correct horse"));
        let record = keys.seal(LABEL, b"x").unwrap();
        let again = derived(&header, &typed("correct horse"));
        assert!(again.open(LABEL, record.clone()).is_ok());
        let wrong = derived(&header, &typed("correct horsf"));
        assert!(wrong.open(LABEL, record).is_err());
    }

    #[derive(Debug)]
    struct NoRoom;

    impl KeyKeeper for NoRoom {
        fn keep(
            &self,
            _length: usize,
            _write: &mut dyn FnMut(&mut [u8]),
        ) -> Result<Box<dyn KeptKey>, NotKept> {
            Err(NotKept::because("no room; make some"))
        }
    }

    #[test]
    fn without_memory_for_keys_the_error_names_the_remedy() {
        let header = Header::new(&key(7)).unwrap();
        let error = header.derive(&key(7), &NoRoom).unwrap_err();
        assert!(matches!(error, Error::NotKept(_)));
        assert!(error.to_string().ends_with("no room; make some"), "{error}");
    }

    proptest! {
        #[test]
        fn any_bytes_yield_a_record_or_damage(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let keys = keys();
            prop_assert!(keys.open(LABEL, bytes.clone()).is_err());
            let mut plausible = b"clvg\x01\x04".to_vec();
            plausible.extend_from_slice(&bytes);
            prop_assert_eq!(keys.open(LABEL, plausible).unwrap_err(), Damage::Altered);
            prop_assert!(Header::from_bytes(&bytes).is_err());
        }

        #[test]
        fn every_sealed_record_opens(bytes in proptest::collection::vec(any::<u8>(), 0..300), version in "[0-9]{1,6}") {
            let keys = keys();
            let label = Label { version: &version, ..LABEL };
            let record = keys.seal(label, &bytes).unwrap();
            let opened = keys.open(label, record).unwrap();
            prop_assert_eq!(opened, bytes);
        }
    }
}
