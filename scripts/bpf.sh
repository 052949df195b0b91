#!/usr/bin/env bash
# Compiles bpf/ and writes the bindings into loader/. With "check" it writes them
# elsewhere and fails when they differ from those committed.
set -euo pipefail

cd "$(dirname "$0")/.."
out=$PWD/loader
if [ "${1:-}" = check ]; then
  out=$(mktemp -d)
  trap 'rm -rf "$out"' EXIT
fi

clang=${CLANG:-clang}
# Debian keeps the kernel's headers of each architecture apart.
headers=/usr/include/$(uname -m)-linux-gnu
flags=(-O2 -g -mcpu=v3 -Wall -Wextra -Werror -idirafter "$headers")

# generate NAME SUFFIX SOURCE [TYPE...]
generate() {
  local name=$1 suffix=$2 source=$3
  shift 3
  local types=()
  for type in "$@"; do types+=(-type "$type"); done
  GOPACKAGE=loader go tool -modfile="$PWD/scripts/tools/go.mod" bpf2go \
    -cc "$clang" -target bpfel -output-dir "$out" -output-suffix "$suffix" "${types[@]}" "$name" "bpf/$source" -- "${flags[@]}" >/dev/null
}

# The suffix keeps what only tests run out of the binary.
generate sockmap "" sockmap.c way policy event reason mark mode rule event_kind
generate table "" table.c table_end table_state table_policy table_discovery table_health
generate decide _test decide_test.c trial
generate local "" local.c local_way local_reason enrolled enrolment
generate decideLocal _test local_test.c local_trial

if [ "${1:-}" = check ]; then
  for file in "$out"/*; do
    cmp "$file" "loader/${file##*/}" || { echo "run make generate: loader/ does not match bpf/" >&2; exit 1; }
  done
fi
