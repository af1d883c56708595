#!/usr/bin/env bash
# The evasion corpus: run.sh pg|pii|ssh|kube. Last line of the output is JSON.
#   CORPUS=DIR       the corpus's folder        WEIR=PATH     the binary
#   PROXY=direct|relay|weir (default weir)      SERVER=15|18  PostgreSQL's version
#   ONLY=REGEX       some items only            POLICY=allow-list  ssh: what may run is listed
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export CORPUS=${CORPUS:-$here/../../../shared/corpus}
case "${1:-}" in
  pg) exec python3 "$here/pg.py" ;;
  ssh) exec python3 "$here/ssh.py" ;;
  kube) exec python3 "$here/kube.py" ;;
  pii)
    cd "$here/../.."
    target=${CARGO_TARGET_DIR:-$PWD/target}
    cargo build --release --locked --quiet -p weir-detect --example pii >&2
    host=$(rustc -vV | sed -n 's/^host: //p')
    exec python3 "$CORPUS/validate.py" pii --detector "$target/$host/release/examples/pii"
    ;;
  *)
    echo "make corpus PROTO=${1:-}: not built yet" >&2
    exit 2
    ;;
esac
