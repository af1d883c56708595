#!/usr/bin/env bash
# ClickHouse as the search engine: the collector's tests against the real engine (chDB, from PyPI).
set -euo pipefail
cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-$PWD/target}
venv=$target/clickhouse
if ! "$venv/bin/python" -c 'import chdb' 2>/dev/null; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet 'chdb==4.4.0'
fi
export WEIR_CLICKHOUSE_SERVE="$venv/bin/python $PWD/e2e/clickhouse/serve.py"
cargo test --release --workspace --features weir-api/crds --locked --test clickhouse -- --ignored --test-threads 1 "$@"
