#!/bin/sh
# The namespace tests: the redirect in a pod-like namespace, the seal of
# `weir run`. Needs root, nftables in the kernel, iproute2, util-linux and
# python3; fails where one of them is missing.
set -eu
cd "$(dirname "$0")/../.."
[ "$(id -u)" = 0 ] || { echo "netns: needs root" >&2; exit 1; }
for tool in ip nsenter unshare setpriv script /usr/bin/python3 nft pgrep; do
    command -v "$tool" >/dev/null || { echo "netns: $tool is missing" >&2; exit 1; }
done
# As `make test` builds them: another choice of packages has other features, and compiles everything anew.
set -- --workspace --features weir-api/crds --locked "$@"
# `cargo test --example` builds it as a test, under another name
cargo build --example netns_probe "$@"
cargo test --test pod --test run "$@"
# a collector on a disk that is really full
exec cargo test --test full_disk "$@" -- --ignored --test-threads 1
