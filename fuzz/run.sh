#!/usr/bin/env bash
# Runs each fuzz target, or those given as arguments, for FUZZ_SECONDS (60), two at a time.
#
# Needs only stable Rust and a C++ compiler: coverage is an LLVM pass that every toolchain has, and libFuzzer is built
# from the sources in libfuzzer-sys. `cargo fuzz` also works in this folder. Interesting inputs are stored in
# target/fuzz/corpus, and failing ones in target/fuzz/failures.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds="${FUZZ_SECONDS:-60}"
triple=$(rustc -vV | sed -n 's/^host: //p')
out="$PWD/target/fuzz"
mkdir -p "$out"

if ! command -v c++ >/dev/null; then
  echo "SKIP fuzz: there is no C++ compiler" | tee -a target/skipped-tests >&2
  [ "${STRICT:-}" != 1 ]
  exit
fi

# Fuzz the same versions of dependencies that the daemon links.
if [ ! -e fuzz/Cargo.lock ] || [ Cargo.lock -nt fuzz/Cargo.lock ]; then
  cp Cargo.lock fuzz/Cargo.lock
fi

echo "building the fuzz targets"
coverage="-Cpasses=sancov-module"
for option in level=4 inline-8bit-counters pc-table trace-compares; do
  coverage+=" -Cllvm-args=-sanitizer-coverage-$option"
done
# --target keeps the coverage out of build scripts and macros.
RUSTFLAGS="--cfg fuzzing $coverage" CARGO_TARGET_DIR="$out" \
  cargo build --quiet --release --manifest-path fuzz/Cargo.toml --workspace --target "$triple" --bins

targets=("$@")
if [ "${#targets[@]}" = 0 ]; then
  for file in fuzz/*/fuzz_targets/*.rs; do
    targets+=("$(basename "$file" .rs)")
  done
fi

run_one() {
  local target="$1"
  mkdir -p "$out/corpus/$target" "$out/failures/$target" "fuzz/seeds/$target"
  if "$out/$triple/release/$target" "$out/corpus/$target" "fuzz/seeds/$target" \
    -artifact_prefix="$out/failures/$target/" -max_total_time="$seconds" -max_len=65536 -timeout=10 -rss_limit_mb=1024 \
    -print_final_stats=1 >"$out/$target.log" 2>&1; then
    echo "fuzz $target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$out/$target.log") inputs in $seconds s"
  else
    echo "fuzz $target FAILED:" >&2
    tail -n 40 "$out/$target.log" >&2
    return 1
  fi
}
export -f run_one
export out triple seconds

printf '%s\n' "${targets[@]}" | xargs -P 2 -I{} bash -c 'run_one {}'
