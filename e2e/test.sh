#!/usr/bin/env bash
# What `make test` runs, in order of cost; every step runs even after one failed, and the last
# line counts them. FULL=1: load and size in full.
set -uo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
host=$(rustc -vV | sed -n "s/^host: //p")
weir=$CARGO_TARGET_DIR/$host/release/weir
passed=0 failed=0 names=()
started=$SECONDS

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
  local name=$1 at=$SECONDS
  shift
  echo "=== $name: $*"
  if "$@"; then
    passed=$((passed + 1))
    echo "--- $name: ok ($((SECONDS - at)) s)"
  else
    failed=$((failed + 1)) names+=("$name")
    echo "--- $name: FAILED ($((SECONDS - at)) s)"
  fi
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
if [ -x "$weir" ]; then
  step netns env WEIR="$weir" bash e2e/netns/run.sh --release
  step policy python3 e2e/policy/run.py --weir "$weir"
  step notify python3 e2e/notify/run.py --weir "$weir"
  step exports python3 e2e/exports/run.py --weir "$weir"
  step evidence python3 e2e/evidence/run.py --weir "$weir"
  step ssh python3 e2e/ssh/run.py --weir "$weir"
  step faults python3 e2e/faults/run.py --weir "$weir" ${FULL:+--full}
  step browser python3 e2e/browser/run.py --weir "$weir"
  step kube python3 e2e/kube/hostile.py --weir "$weir"
  step kube-attacks python3 e2e/kube/attacks.py --weir "$weir"
  step kube-clients python3 e2e/kube/clients.py --weir "$weir"
  step drivers python3 e2e/drivers/run.py --weir "$weir"
fi
[ ${#names[@]} -gt 0 ] && echo "failed steps: ${names[*]}"
echo "took $((SECONDS - started)) s"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
