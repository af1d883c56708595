#!/usr/bin/env bash
# What `make test` runs, in order of cost; every step runs even after one failed, and the last
# line counts them. FULL=1: load and size in full.
set -uo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
host=$(rustc -vV | sed -n "s/^host: //p")
weir=$CARGO_TARGET_DIR/$host/release/weir
started=$SECONDS
results=$(mktemp)
trap 'rm -f "$results"' EXIT

need_apt() { # PACKAGES…: installs by name what is missing
  local missing=()
  for package in "$@"; do
    dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  echo "[install] apt-get install -y ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  mkdir -p ~/.cache/weir
  flock ~/.cache/weir/.apt.lock sh -c 'apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@" >/dev/null' \
    apt "${missing[@]}"
}
step() { # NAME COMMAND…
  local name=$1 at=$SECONDS result=ok
  shift
  echo "=== $name: $*"
  "$@" || result=FAILED
  echo "$name $result" >>"$results"
  echo "--- $name: $result ($((SECONDS - at)) s)"
}
suite() { # NAME COMMAND…: a step beside others; what it prints comes whole, when it has ended
  local printed
  printed=$(mktemp)
  echo "... $1"
  step "$@" >"$printed" 2>&1
  flock "$results" cat "$printed"
  rm -f "$printed"
}

packages=(libclang-dev clang cmake make gcc g++ pkg-config postgresql postgresql-contrib iproute2 nftables util-linux
  openssl procps python3 openssh-server openssh-client rsync git python3-venv chromium)
# Node may have come another way, and Debian's npm does not go beside it.
command -v node >/dev/null || packages+=(nodejs)
command -v npm >/dev/null || packages+=(npm)
need_apt "${packages[@]}"
step format cargo fmt --all -- --check
# one profile for lints, tests and binaries: what is compiled once serves all of them
step deps-check bash e2e/deps-check.sh
step clippy cargo clippy --release --workspace --features weir-api/crds --all-targets --locked --quiet -- -D warnings
step fuzz-check bash e2e/fuzz.sh check
step unit cargo test --release --workspace --features weir-api/crds --locked --quiet --no-fail-fast
step generated-check make generated-check
step release cargo build --release --locked --quiet -p weir-cli -p weir-sidecar -p weir-controller -p weir-collector
# The suites wait more than they compute: two run at a time. Those that start a Kubernetes follow one another.
statements() {
  suite policy python3 e2e/policy/run.py --weir "$weir"
  suite drivers python3 e2e/drivers/run.py --weir "$weir"
  suite browser python3 e2e/browser/run.py --weir "$weir"
  suite notify python3 e2e/notify/run.py --weir "$weir"
  suite exports python3 e2e/exports/run.py --weir "$weir"
  suite evidence python3 e2e/evidence/run.py --weir "$weir"
}
machines() {
  suite netns env WEIR="$weir" bash e2e/netns/run.sh --release
  suite ssh python3 e2e/ssh/run.py --weir "$weir"
  suite faults python3 e2e/faults/run.py --weir "$weir" ${FULL:+--full}
  suite kube python3 e2e/kube/hostile.py --weir "$weir"
  suite kube-attacks python3 e2e/kube/attacks.py --weir "$weir"
  suite kube-clients python3 e2e/kube/clients.py --weir "$weir"
}
if [ -x "$weir" ]; then
  statements & lane=$!
  machines || echo "suites FAILED" >>"$results"
  wait "$lane" || echo "suites FAILED" >>"$results"
fi
failed=$(sed -n 's/ FAILED$//p' "$results")
[ -n "$failed" ] && echo "failed steps:" $failed
echo "took $((SECONDS - started)) s"
echo "$(grep -c ' ok$' "$results") passed, $(grep -c ' FAILED$' "$results") failed"
[ -z "$failed" ]
