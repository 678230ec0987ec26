//! Checks that the committed code matches the `.proto` files.
//!
//! `CLAVIGER_REGENERATE=1 cargo test -p claviger-proto` regenerates the code before comparing.

use std::fs;
use std::path::{Path, PathBuf};

use prost::Message as _;

const FILES: [&str; 4] = [
    "claviger/v1/common.proto",
    "claviger/v1/tokens.proto",
    "claviger/v1/secrets.proto",
    "claviger/v1/admin.proto",
];

/// Messages that carry a credential. Their `Debug` is implemented by hand in `src/lib.rs`.
const CARRY_SECRETS: [&str; 2] = [
    ".claviger.v1.GetTokenResponse",
    ".claviger.v1.GetSecretResponse",
];

fn generate(root: &Path, out: &Path) {
    let descriptors = protox::compile(FILES, [root]).expect("the .proto files compile");
    fs::write(out.join("claviger.v1.bin"), descriptors.encode_to_vec()).expect("writable");
    let mut config = tonic_prost_build::Config::new();
    config.skip_debug(CARRY_SECRETS);
    tonic_prost_build::configure()
        .out_dir(out)
        .compile_fds_with_config(descriptors, config)
        .expect("code generation works");
}

#[test]
fn committed_code_matches_the_proto_files() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let committed = root.join("src/gen");
    #[expect(
        clippy::disallowed_methods,
        reason = "the developer who runs the test sets the variable"
    )]
    let regenerate = std::env::var_os("CLAVIGER_REGENERATE").is_some();
    if regenerate {
        fs::create_dir_all(&committed).expect("writable");
        generate(&root, &committed);
    }
    let fresh = tempfile::tempdir().expect("a temporary folder");
    generate(&root, fresh.path());
    for name in ["claviger.v1.rs", "claviger.v1.bin"] {
        let want = fs::read(fresh.path().join(name)).expect("generated");
        let have = fs::read(committed.join(name)).unwrap_or_default();
        assert!(
            want == have,
            "proto/src/gen/{name} is out of date: run CLAVIGER_REGENERATE=1 cargo test -p claviger-proto"
        );
    }
}

/// Every message that could carry a credential must be listed above, or its derived `Debug` would print it.
#[test]
fn only_listed_messages_have_credential_fields() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let descriptors = protox::compile(FILES, [&root]).expect("the .proto files compile");
    let mut found = Vec::new();
    for file in descriptors
        .file
        .iter()
        .filter(|file| file.package() == "claviger.v1")
    {
        for message in &file.message_type {
            if message.field.iter().any(|field| {
                matches!(
                    field.name(),
                    "access_token" | "value" | "secret" | "password" | "token"
                )
            }) {
                found.push(format!(".claviger.v1.{}", message.name()));
            }
        }
    }
    found.sort();
    let mut listed = CARRY_SECRETS.map(str::to_owned).to_vec();
    listed.sort();
    assert_eq!(found, listed);
}
