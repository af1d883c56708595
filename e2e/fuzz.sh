#!/usr/bin/env bash
# Every decoder under libFuzzer, with the stable compiler: builds the targets in crates/*/fuzz, then
# runs all of them within FUZZ_SECONDS (60; the build is not counted), as many at a time as there are
# processors, each for an equal share and at least MINIMUM seconds. ONLY=REGEX: those whose names match.
# `e2e/fuzz.sh check` compiles the targets only.
#
# Seeds are crates/X/fuzz/seeds/TARGET.txt (one a line, as `printf %b` reads it) and the files of
# crates/X/fuzz/seeds/TARGET/; words that help are in TARGET.dict there. What a run finds worth keeping
# is in target/fuzz/corpus, where the next one starts; inputs that fail are in target/fuzz/artifacts.
set -euo pipefail
cd "$(dirname "$0")/.."
MINIMUM=3
export WORK=${CARGO_TARGET_DIR:-$PWD/target}/fuzz

one() { # NAME CRATE TARGET SECONDS: one target; a line on the screen, the rest in its log
  local name=$1 from=crates/$2/fuzz/seeds/$3 log=$WORK/$1.log rc=0 number=0 line input
  local corpus=$WORK/corpus/$name seeds=$WORK/seeds/$name artifacts=$WORK/artifacts/$name
  rm -rf "$seeds"
  mkdir -p "$corpus" "$seeds" "$artifacts"
  if [ -f "$from.txt" ]; then
    while IFS= read -r line; do
      printf '%b' "$line" >"$seeds/$((number += 1))"
    done <"$from.txt"
  fi
  [ ! -d "$from" ] || cp -rL "$from/." "$seeds/"
  local options=(-max_total_time="$4" -timeout=10 -rss_limit_mb=2048 -artifact_prefix="$artifacts/")
  [ ! -f "$from.dict" ] || options+=(-dict="$from.dict")
  "$BIN/$name" "$corpus" "$seeds" "${options[@]}" -print_final_stats=1 >"$log" 2>&1 || rc=$?
  if [ "$rc" = 0 ]; then
    local edges runs rate
    edges=$(sed -n 's/.*DONE .* cov: \([0-9]*\) .*/\1/p' "$log")
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    rate=$(sed -n 's/^stat::average_exec_per_sec: *//p' "$log")
    printf 'ok    %-24s %10d inputs %9d/s %6d edges\n' "$name" "$runs" "$rate" "${edges:-0}"
    touch "$WORK/$name.passed"
    return
  fi
  printf 'FAIL  %-24s exit %d, see %s\n' "$name" "$rc" "$log"
  grep -a -m1 -A3 'panicked at' "$log" | sed 's/^/      /' || true
  input=$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
  [ -n "$input" ] && printf '      again: %s %s\n' "$BIN/$name" "$input"
  return 1
}
export -f one
[ "${1:-}" != one ] || { one "${@:2}"; exit; }

missing=()
for package in clang libclang-dev cmake g++ make; do
  dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "[install] apt-get install -y ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

# What is fuzzed is what ships: the versions are those of Weir's lock file.
mkdir -p "$WORK"
if ! cmp -s Cargo.lock "$WORK/Cargo.lock" || [ ! -f e2e/fuzz/Cargo.lock ]; then
  cp Cargo.lock e2e/fuzz/Cargo.lock
  cp Cargo.lock "$WORK/Cargo.lock"
fi
if [ "${1:-}" = check ]; then
  # No libFuzzer is built for a check: nothing is linked. With the profile of Weir's own build, so
  # that what `make lint` has compiled is not compiled again.
  cargo fmt --manifest-path e2e/fuzz/Cargo.toml --all -- --check
  plain=()
  for setting in debug overflow-checks debug-assertions; do
    plain+=(--config "profile.release.$setting=false")
  done
  CUSTOM_LIBFUZZER_PATH=/nowhere/libnothing.a cargo clippy --release --quiet "${plain[@]}" \
    --manifest-path e2e/fuzz/Cargo.toml --workspace --all-targets -- -D warnings
  exit
fi

mapfile -t targets < <(for file in crates/*/fuzz/fuzz_targets/*.rs; do
  crate=${file#crates/} crate=${crate%%/*} target=$(basename "$file" .rs)
  echo "$crate-$target $crate $target"
done | grep -E "^[^ ]*(${ONLY:-})")
if [ ${#targets[@]} -eq 0 ]; then
  echo "make fuzz: no target matches ${ONLY:-}" >&2
  exit 2
fi

host=$(rustc -vV | sed -n 's/^host: //p')
export BIN=$WORK/$host/release
# LLVM's coverage counters, which stable rustc passes on; libFuzzer comes with its crate.
flags=(-Cpasses=sancov-module)
for flag in level=4 inline-8bit-counters pc-table trace-compares; do
  flags+=("-Cllvm-args=-sanitizer-coverage-$flag")
done
flags+=(-Ccodegen-units=1)
packages=()
for crate in $(printf '%s\n' "${targets[@]}" | awk '{print $2}' | sort -u); do
  packages+=(-p "weir-$crate-fuzz")
done
echo "[build] ${#targets[@]} targets"
# A target of its own keeps the flags away from build scripts.
CARGO_TARGET_DIR=$WORK RUSTFLAGS="${flags[*]}" \
  cargo build --release --quiet --manifest-path e2e/fuzz/Cargo.toml --target "$host" --bins "${packages[@]}"

jobs=$(nproc)
[ "$jobs" -le ${#targets[@]} ] || jobs=${#targets[@]}
each=$((${FUZZ_SECONDS:-60} * jobs / ${#targets[@]}))
[ "$each" -ge $MINIMUM ] || each=$MINIMUM
echo "[fuzz] ${#targets[@]} targets for $each s each, $jobs at a time"
rm -f "$WORK"/*.passed
printf '%s\n' "${targets[@]/%/ $each}" | xargs -L 1 -P "$jobs" bash e2e/fuzz.sh one || true
passed=$(find "$WORK" -maxdepth 1 -name '*.passed' | wc -l)
echo "$passed passed, $((${#targets[@]} - passed)) failed"
[ "$passed" = ${#targets[@]} ]
