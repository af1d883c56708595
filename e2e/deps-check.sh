#!/usr/bin/env bash
# The dependency rules of the architecture, read from `cargo tree`: pure crates do no IO and
# know no clock and no randomness, the data path does not link the Kubernetes client, one TLS
# backend, and nothing that decides or decodes depends on what runs it.
set -euo pipefail
cd "$(dirname "$0")/.."
PURE=${PURE:-policy sql detect wire-postgres}
NO_KUBE=${NO_KUBE:-gateway collector uplink}
bad=0

tree() { # CRATE: the names of everything it links, one a line
  cargo tree --locked --quiet -p "weir-$1" -e normal --prefix none --format '{p}' | awk '{print $1}' | sort -u
}
forbid() { # CRATE REGEX WHY
  local hits
  hits=$(tree "$1" | grep -Ex "$2" | excepted "$1" || true)
  if [ -n "$hits" ]; then
    echo "weir-$1 links $(tr '\n' ' ' <<<"$hits")— $3" >&2
    bad=1
  fi
}

# postgres-protocol draws SCRAM nonces with rand; wire-postgres takes its nonces as arguments and
# must not call it: checked below by name
excepted() { [ "$1" = wire-postgres ] && grep -vxE 'rand|rand_core|rand_chacha|getrandom|ppv-lite86' || cat; }
for crate in $PURE; do
  forbid "$crate" 'tokio.*|async-std|smol|mio|hyper.*|rustls|tokio-rustls|kube.*|rand|rand_core|getrandom|fastrand|chrono|time|socket2|reqwest|rusqlite|tracing-subscriber' \
    'pure crates have no IO, TLS, Kubernetes, clock or randomness'
  forbid "$crate" 'weir-(api|audit|transport|telemetry|uplink|gateway|collector|cli|sidecar|controller|testkit)' \
    'pure crates depend on no crate above them'
done
for crate in $NO_KUBE; do
  forbid "$crate" 'kube|kube-.*|k8s-openapi' 'the data path and the evidence do not link the Kubernetes client'
done
for crate in gateway collector uplink transport cli; do
  [ -d "crates/$crate" ] || continue
  forbid "$crate" 'ring|openssl|openssl-sys|native-tls' 'one TLS backend: aws-lc-rs'
done
if grep -rnE '(rand|getrandom)::|ScramSha256::new\(' crates/wire-postgres/src --include='*.rs' | grep -vE '/tests?(\.rs|/)' >&2; then
  echo "weir-wire-postgres draws randomness itself" >&2
  bad=1
fi
# clocks and IO of the standard library in pure crates
for crate in $PURE; do
  hits=$(grep -rnE 'std::(fs|process|env)::|std::net::.*(TcpStream|TcpListener|UdpSocket|ToSocketAddrs)|SystemTime::now|Instant::now|thread::sleep' "crates/$crate/src" --include='*.rs' \
    | grep -vE '/tests?(\.rs|/)' || true)
  if [ -n "$hits" ]; then
    echo "weir-$crate touches the outside world:" >&2
    echo "$hits" >&2
    bad=1
  fi
done
# layering between our own crates: the gateway is reached from above only
for crate in transport uplink audit api telemetry; do
  forbid "$crate" 'weir-(gateway|cli|sidecar|controller)' 'mechanisms do not depend on the engine'
done
# unsafe only in transport
hits=$(grep -rlE '\bunsafe\b *(\{|fn|impl|extern)' crates/*/src --include='*.rs' | grep -v '^crates/transport/' || true)
if [ -n "$hits" ]; then
  echo "unsafe outside of transport: $hits" >&2
  bad=1
fi
[ "$bad" = 0 ] && echo "dependency rules hold"
exit "$bad"
