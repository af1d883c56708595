#!/usr/bin/env bash
# The story in three minutes: a guarded PostgreSQL and a guarded host on one machine. Every step is checked: the demo
# ends with 0 only if what it says is what happened. KEEP=1 leaves server and collector running.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
host=$(rustc -vV | sed -n "s/^host: //p")
WEIR=${WEIR:-$here/../target/$host/release/weir}
WEIR=$(realpath "$WEIR")
export PATH="$(dirname "$WEIR"):$PATH"
[ "$(id -u)" = 0 ] || { echo "the demo makes a network namespace: run it as root" >&2; exit 1; }

if [ -t 1 ]; then bold=$'\e[1m' dim=$'\e[2m' cyan=$'\e[36m' off=$'\e[0m'; else bold='' dim='' cyan='' off=''; fi
step=0
heading() { step=$((step + 1)); printf '\n%s%d. %s%s\n' "$bold" "$step" "$1" "$off"; }
say() { printf '%s\n' "$*" | fold -s -w 88 | sed "s/^/   $dim/; s/\$/$off/"; }
typed() { printf '\n   %s$ %s%s\n' "$cyan" "$1" "$off"; }
indent() { sed 's/^/     /'; }
fail() { printf '\nthe demo failed: %s\n' "$*" >&2; [ -f weir.log ] && tail -n 20 weir.log >&2; exit 1; }

# show TEXT COMMAND…: prints the command as typed, runs it, keeps its output in $out
show() {
  local text=$1
  shift
  typed "$text"
  set +e
  out=$("$@" 2>&1)
  status=$?
  set -e
  indent <<<"$out"
}
wants() { grep -qE -- "$1" <<<"$out" || fail "expected /$1/ in the output above"; }
lacks() { if grep -qE -- "$1" <<<"$out"; then fail "did not expect /$1/ in the output above"; fi; }

dir=$(mktemp -d /tmp/weir-demo-XXXXXX)
cd "$dir"
pids=()
finish() {
  status=$?
  if [ -n "${KEEP:-}" ] && [ "$status" = 0 ]; then return; fi
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  if [ "$status" = 0 ]; then rm -rf "$dir"; else echo "left for inspection: $dir" >&2; fi
}
trap finish EXIT

# ------------------------------------------------------------------------------ a server
printf '%sWeir: a guarded PostgreSQL and a guarded host on one machine%s\n' "$bold" "$off"
printf '%spreparing throw-away servers …%s\n' "$dim" "$off"
python3 "$here/lib/demo_server.py" "$dir/pg" >server.log 2>&1 &
pids+=($!)
for _ in $(seq 300); do [ -s pg/ready ] && break; sleep 0.1; done
[ -s pg/ready ] || { cat server.log >&2; fail "the servers did not start"; }
read -r port ssh_port <pg/ready
export PGHOST=127.0.0.1 PGPORT=$port PGUSER=app PGPASSWORD=app-secret PGDATABASE=shop PSQL_HISTORY=/dev/null PAGER=
unset PGSSLMODE PGOPTIONS PGSERVICE

mkdir -p policies
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
collector=127.0.0.1:$(free_port)
cat >weir.yaml <<YAML
identity: {name: reporter}
resources: [policies/]
stateDir: .weir
collector: {address: "$collector"}
YAML
host_key=$(cut -d' ' -f1,2 pg/ssh/hostkey.pub)
sed "s/@PORT@/$port/; s/@SSH_PORT@/$ssh_port/; s|@HOST_KEY@|$host_key|" "$here/demo.yaml" >policies/shop.yaml
install -d -m 700 .weir .weir/secrets .weir/secrets/build-login
install -m 600 pg/ssh/key .weir/secrets/build-login/ssh-privatekey
guarded() { weir run --config weir.yaml -- "$@"; }

# ------------------------------------------------------------------------------ the story
heading "The policy"
say "One YAML file, the kinds a cluster will use: what is governed, what is sensitive, who may do what."
show "weir policy check policies/shop.yaml" weir policy check policies/shop.yaml
[ "$status" = 0 ] || fail "the policy was refused"
typed "cat policies/shop.yaml   # its last part"
sed -n '/^kind: ClusterGuardPolicy/,/^---/p' policies/shop.yaml | sed '/^---/,$d' | indent

heading "The same query, direct and through Weir"
say "Stock psql with an application's own credentials. Direct, it reads everything:"
query="SELECT id, name, ssn AS harmless FROM customers ORDER BY id LIMIT 3"
show "psql -c \"$query\"" psql -c "$query"
wants '811-12-1001'
say "The same command under weir run: a network namespace whose traffic cannot avoid Weir. The" \
  "column is masked under its alias, since the server itself says where each column comes from:"
show "weir run -- psql -c \"$query\"" guarded psql -c "$query"
wants '1001'
lacks '811-12-1001'
wants 'Person 1'

heading "No way round"
say "A mask cannot be dodged by an expression whose origin nobody can prove:"
query="SELECT upper(ssn) FROM customers"
show "weir run -- psql -c \"$query\"" guarded psql -c "$query"
wants 'denied by policy "shop"'
lacks '811-12'

heading "A DELETE without WHERE"
query="DELETE FROM orders"
show "weir run -- psql -c \"$query\"" guarded psql -c "$query"
wants 'ERROR:  denied by policy "shop" rule "no-blind-writes"'
say "The same thing, hidden in a WITH:"
query="WITH x AS (DELETE FROM orders RETURNING id) SELECT count(*) FROM x"
show "weir run -- psql -c \"$query\"" guarded psql -c "$query"
wants 'denied by policy "shop" rule "no-blind-writes"'
say "Nothing ran. Asked directly, the server still has every order:"
show "psql -Atc \"SELECT count(*) FROM orders\"" psql -Atc "SELECT count(*) FROM orders"
wants '^50000$'

heading "An export of 50,000 rows"
say "More than 10,000 rows need a person. The wire is held at row 10,001, which is not delivered;" \
  "the server waits by back-pressure and nothing piles up."
query="SELECT * FROM orders"
typed "weir run -- psql -Atc \"$query\" > export.txt &"
guarded psql -At -c "$query" >export.txt 2>export.err &
export_pid=$!
pids+=("$export_pid")
for _ in $(seq 200); do grep -q 'awaiting approval' export.err && break; sleep 0.1; done
grep 'awaiting approval' export.err | indent || fail "no notice of the hold: $(cat export.err)"
say "Somebody else looks at what is asked, and decides:"
show "weir requests" weir requests
name=$(weir requests --output json | python3 "$here/lib/demo_pick.py" request)
[ -n "$name" ] || fail "no request is pending"
wants "$name"
show "weir approve $name" weir approve "$name"
[ "$status" = 0 ] || fail "the approval was refused"
wait "$export_pid" || fail "the export ended with an error: $(cat export.err)"
show "wc -l export.txt" wc -l export.txt
wants '^50000 '

heading "A host: no key, no dump, no large file"
say "Weir logs in with a key that the program never has. The program is stock ssh, without a single" \
  "option about keys:"
typed_ssh="ssh -p $ssh_port 127.0.0.1"
show "weir run -- $typed_ssh 'echo \$((6*7))'" guarded ssh -p "$ssh_port" 127.0.0.1 'echo $((6*7))'
wants '^42$'
show "weir run -- $typed_ssh 'pg_dump shop'" guarded ssh -p "$ssh_port" 127.0.0.1 'pg_dump shop'
wants 'denied by policy "hosts" rule "no-dumps"'
say "A file of 3 MiB where a person must agree above 1 MiB:"
typed "weir run -- sftp -P $ssh_port 127.0.0.1:$dir/pg/ssh/report.bin . &"
guarded sftp -q -P "$ssh_port" "127.0.0.1:$dir/pg/ssh/report.bin" report.bin >sftp.out 2>sftp.err &
sftp_pid=$!
pids+=("$sftp_pid")
for _ in $(seq 200); do
  grep -q "awaiting approval" sftp.err && break
  sleep 0.1
done
grep 'awaiting approval' sftp.err | indent || fail "no notice of the hold: $(cat sftp.err)"
show "weir requests" weir requests
wants "report.bin"
name=$(weir requests --output json | python3 "$here/lib/demo_pick.py" request)
show "weir approve $name" weir approve "$name"
[ "$status" = 0 ] || fail "the approval was refused"
wait "$sftp_pid" || fail "the transfer ended with an error: $(cat sftp.err)"
cmp report.bin pg/ssh/report.bin || fail "the file is not the same"
show "ls -l report.bin" ls -l report.bin
say "And somebody works in a shell, with a terminal:"
typed "weir run -- ssh -tt -p $ssh_port 127.0.0.1"
printf 'PS1="build\\$ "; stty -echo\nuptime -p | sed "s/^up/this host is up/"\nexit\n' |
  guarded ssh -tt -p "$ssh_port" 127.0.0.1 >shell.out 2>&1 || fail "the shell ended with an error: $(cat shell.out)"
grep -q 'this host is up' shell.out || fail "the shell did not show what it ran"

heading "What the auditor sees"
say "Every statement: who, what was decided and by which rule, what came back. The collector is up" \
  "again after the clients have gone."
weir standalone --config weir.yaml >>weir.log 2>&1 &
pids+=($!)
for _ in $(seq 200); do grep -q 'weir: ready' weir.log && break; sleep 0.1; done
grep -q 'weir: ready' weir.log || fail "weir standalone did not start"
show "weir query --decision deny" weir query --decision deny
wants 'no-blind-writes'
show "weir query --table public.customers" weir query --table public.customers
wants 'harmless'
session=$(weir sessions --output json | python3 "$here/lib/demo_pick.py" session)
[ -n "$session" ] || fail "no session to replay"
say "A session is replayed as the client saw it, masks and all:"
show "weir replay $session" weir replay "$session"
wants 'harmless'
lacks '811-12-1001'
say "Files that were moved, with size and SHA-256:"
show "weir query --kind files" weir query --kind files
wants "$(sha256sum pg/ssh/report.bin | cut -c1-12)"
session=$(weir sessions --target build-host --limit 1 --output json | python3 "$here/lib/demo_pick.py" session)
[ -n "$session" ] || fail "no shell to replay"
say "The shell, as its terminal showed it (on a terminal it plays at its own speed):"
show "weir replay $session" weir replay "$session"
wants 'this host is up'

printf '\n%sThat is Weir.%s The collector: http://%s (bearer token in %s)\n' \
  "$bold" "$off" "$collector" "$dir/.weir/collector.token"
if [ -n "${KEEP:-}" ]; then
  disown -a
  printf 'Left running in %s: cd there and try weir tail. To stop it: kill %s\n' "$dir" "${pids[*]}"
fi
