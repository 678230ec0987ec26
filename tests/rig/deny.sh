#!/usr/bin/env bash
# Checks deny.toml with cargo-deny, where there is one. The tests check licenses, bans and sources by themselves
# (tests/tidy.rs), so that nothing depends on this tool but the advisories.
set -euo pipefail
cd "$(dirname "$0")/../.."
PATH="$PATH:$PWD/target/tools/bin:/usr/local/cargo-tools/bin"

if ! command -v cargo-deny >/dev/null; then
  echo "SKIP cargo-deny: not installed (cargo install --locked --root target/tools cargo-deny@0.20.2)"
  exit
fi
cargo fetch --locked --quiet
cargo deny --offline --locked check licenses bans sources
home="${CARGO_HOME:-$HOME/.cargo}"
if compgen -G "$home/advisory-dbs/*/crates" >/dev/null || compgen -G "$home/advisory-db*/*/crates" >/dev/null; then
  cargo deny --offline --locked check advisories
elif cargo deny --locked fetch db >/dev/null 2>&1; then
  cargo deny --locked check advisories
else
  echo "SKIP advisories: the database is not here and cannot be fetched"
fi
