//! The arguments of `claviger file`, and its help.
//!
//! Owns the subcommands, their options and their examples. Never holds a secret, because no option takes one. Next: the module
//! above, which uses the arguments.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use claviger_backend::{FieldName, SecretName, VersionId};

/// Keep secrets in a sealed directory of this host.
#[derive(Debug, Subcommand)]
pub(crate) enum FileCommand {
    /// Create a new store.
    #[command(after_help = "\
Examples:
  claviger file init --store /var/lib/claviger/secrets --generate-key /etc/claviger/secrets.key
      A new store and a new random key. Keep a copy of the key apart from copies of the store.
  claviger file init --store ./secrets
      Asks for a passphrase, twice.")]
    Init(Init),
    /// Write a value, from standard input or a prompt without echo.
    #[command(after_help = "\
Examples:
  claviger file put oauth/billing --store ./secrets --key-file ./key < billing.json
      Byte for byte what the file holds.
  claviger file put oauth/billing --field client_secret --store ./secrets --key-file ./key
      Asks for one field; the others stay as they are.
  pass show api-key | claviger file put api-key --trim --store ./secrets --key-file ./key
      Without the newline that `pass` writes.")]
    Put(Put),
    /// Write a value to standard output.
    #[command(after_help = "\
Examples:
  claviger file get oauth/billing --store ./secrets --key-file ./key > billing.json
  claviger file get oauth/billing --field client_id --version 3 --reveal --store ./secrets --key-file ./key")]
    Get(Get),
    /// List the secrets, without their values.
    List(List),
    /// List the versions of a secret, without their values.
    Versions(Versions),
    /// Destroy the value of a version that is not current.
    #[command(after_help = "\
Examples:
  claviger file retire oauth/billing 3 --store ./secrets --key-file ./key
      Nothing brings the value back. The version stays listed as retired.")]
    Retire(Retire),
    /// Re-encrypt the store with another key.
    #[command(after_help = "\
Examples:
  claviger file rekey --store ./secrets --key-file ./key --generate-key ./key.new
      Then move the new key to where the daemon looks for it: mv ./key.new ./key
  claviger file rekey --store ./secrets --passphrase-file ./old --new-passphrase-file ./new

If it is killed, the store is complete and opens with the old key or with the new one.
An older copy of the store still opens with the old key: if that key has leaked, rotate the secrets.")]
    Rekey(Rekey),
}

/// Which store, and what opens it.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// The directory of the store.
    #[arg(long, value_name = "DIR")]
    pub(super) store: PathBuf,
    /// A file, mode 0600, with 32 bytes in base64.
    #[arg(long, value_name = "FILE", conflicts_with = "passphrase_file")]
    pub(super) key_file: Option<PathBuf>,
    /// A file, mode 0600, with a passphrase. Without either file claviger prompts for a passphrase.
    #[arg(long, value_name = "FILE")]
    pub(super) passphrase_file: Option<PathBuf>,
}

/// The arguments of `init`.
#[derive(Debug, Args)]
pub(crate) struct Init {
    #[command(flatten)]
    pub(super) place: Place,
    /// Write a new random key to FILE, which must not exist, and seal the store with it.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["key_file", "passphrase_file"])]
    pub(super) generate_key: Option<PathBuf>,
}

/// The arguments of `put`.
#[derive(Debug, Args)]
pub(crate) struct Put {
    /// The name of the secret, for example oauth/billing.
    pub(super) name: SecretName,
    #[command(flatten)]
    pub(super) place: Place,
    /// Set one field of the secret, which is a JSON object, to the text that is read.
    #[arg(long)]
    pub(super) field: Option<FieldName>,
    /// Write only if this version is current.
    #[arg(long, value_name = "VERSION", conflicts_with = "new")]
    pub(super) expect: Option<VersionId>,
    /// Write only if there is no such secret yet.
    #[arg(long)]
    pub(super) new: bool,
    /// Strip trailing newlines. Without it, every byte is stored.
    #[arg(long)]
    pub(super) trim: bool,
}

/// The arguments of `get`.
#[derive(Debug, Args)]
pub(crate) struct Get {
    /// The name of the secret.
    pub(super) name: SecretName,
    #[command(flatten)]
    pub(super) place: Place,
    /// One field of a secret that is a JSON object.
    #[arg(long)]
    pub(super) field: Option<FieldName>,
    /// This version instead of the current one.
    #[arg(long, value_name = "VERSION")]
    pub(super) version: Option<VersionId>,
    /// Show the value on a terminal too.
    #[arg(long)]
    pub(super) reveal: bool,
}

/// The arguments of `list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    pub(super) place: Place,
}

/// The arguments of `versions`.
#[derive(Debug, Args)]
pub(crate) struct Versions {
    /// The name of the secret.
    pub(super) name: SecretName,
    #[command(flatten)]
    pub(super) place: Place,
}

/// The arguments of `retire`.
#[derive(Debug, Args)]
pub(crate) struct Retire {
    /// The name of the secret.
    pub(super) name: SecretName,
    /// The version to destroy, as `versions` lists it.
    pub(super) version: VersionId,
    #[command(flatten)]
    pub(super) place: Place,
}

/// The arguments of `rekey`.
#[derive(Debug, Args)]
pub(crate) struct Rekey {
    #[command(flatten)]
    pub(super) place: Place,
    /// Write a new random key to FILE, which must not exist, and use it.
    #[arg(long, value_name = "FILE", group = "next")]
    pub(super) generate_key: Option<PathBuf>,
    /// A file, mode 0600, with the new key.
    #[arg(long, value_name = "FILE", group = "next")]
    pub(super) new_key_file: Option<PathBuf>,
    /// A file, mode 0600, with the new passphrase. Without any of these claviger prompts for a passphrase.
    #[arg(long, value_name = "FILE", group = "next")]
    pub(super) new_passphrase_file: Option<PathBuf>,
}
