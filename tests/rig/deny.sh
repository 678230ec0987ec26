#!/usr/bin/env bash
# Checks deny.toml with cargo-deny if it is installed; with STRICT=1, as in CI, builds it first if it is missing. On every
# run, tests/tidy.rs checks the most important parts without it.
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
  # It runs for a second, so optimizing the build is not worth the time.
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
