#!/usr/bin/env bash
# Runs each fuzz target of the tree for the time given (default 30s).
set -euo pipefail

time=${1:-30s}
cd "$(dirname "$0")/.."
grep -rl --include='*_test.go' '^func Fuzz' userspace cmd scripts tests | xargs -rn1 dirname | sort -u |
  while read -r dir; do
    grep -rhoP --include='*_test.go' '^func \KFuzz\w+' "$dir" | sort -u | while read -r target; do
      echo "== $dir $target"
      go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 10x "./$dir" </dev/null
    done
  done
