#!/usr/bin/env bash
# Every decoder under cargo-fuzz for SECONDS_EACH seconds. Finds the fuzz crates by their folder.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${SECONDS_EACH:-60}
mapfile -t crates < <(find crates -maxdepth 2 -type d -name fuzz | sort)
if [ ${#crates[@]} -eq 0 ]; then
  echo "make fuzz: not built yet (no fuzz targets)" >&2
  exit 2
fi
cargo fuzz --version >/dev/null 2>&1 || { echo "[install] cargo install cargo-fuzz"; cargo install --locked --quiet cargo-fuzz; }
total=0 bad=0
for fuzz in "${crates[@]}"; do
  # no nightly compiler is needed: libFuzzer's runtime comes with the crate, sanitizers stay off
  for target in $(cd "$fuzz/.." && cargo fuzz list); do
    total=$((total + 1))
    echo "=== $fuzz $target, $seconds s"
    (cd "$fuzz/.." && RUSTC_BOOTSTRAP=1 cargo fuzz run -s none -O "$target" -- -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048) || bad=$((bad + 1))
  done
done
echo "$((total - bad)) passed, $bad failed"
[ "$bad" = 0 ]
