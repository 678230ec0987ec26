#!/usr/bin/env bash
# Checks deny.toml with cargo-deny, where there is one; with STRICT=1, and so in CI, it is built if there is none. The tests
# check the parts that matter most by themselves (tests/tidy.rs), on every run.
set -euo pipefail
cd "$(dirname "$0")/../.."
version=0.20.2
PATH="$PWD/target/tools/bin:$PATH:/usr/local/cargo-tools/bin"
install=(cargo install --locked --root target/tools "cargo-deny@$version")

if ! command -v cargo-deny >/dev/null; then
  if [ "${STRICT:-}" != 1 ]; then
    echo "SKIP cargo-deny: not installed (${install[*]})"
    exit
  fi
  echo "building cargo-deny $version, which takes some minutes once"
  # A tool that runs for a second: not worth an optimizing compiler.
  CARGO_PROFILE_RELEASE_OPT_LEVEL=0 "${install[@]}" --quiet
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
