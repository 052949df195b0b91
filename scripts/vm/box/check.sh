#!/bin/bash
# Checks, in a machine that has booted after provision.sh, that the services do what
# they are for with no more rights than their units give them.
set -Eeuo pipefail
trap 'echo "failed: line $LINENO: $BASH_COMMAND"; show' ERR

show() {
  systemctl --no-pager --full --lines 50 status sluice || true
  journalctl --no-pager --quiet --boot --unit consul --lines 30 || true
}

# await WHAT COMMAND...: an emulated machine may take its time.
await() {
  local what=$1
  shift
  for _ in $(seq 300); do
    "$@" >/dev/null 2>&1 && { echo "ok: $what"; return; }
    sleep 0.2
  done
  echo "waited in vain for $what"
  "$@"
}

is() { # NAME WANT HAVE
  [ "$2" = "$3" ] || { echo "$1 is $3, want $2"; return 1; }
  echo "ok: $1 is $3"
}

answers() { curl --silent --fail --max-time 5 "$1"; }
registered() { consul catalog services | grep -x mesh-gateway; }
passing() { answers 'http://127.0.0.1:8500/v1/health/service/mesh-gateway?passing' | grep -q '"mesh-gateway"'; }
status() { sed -n "s/^$1:\s*//p" "/proc/$pid/status"; }

await "consul with a leader" answers http://127.0.0.1:8500/v1/catalog/nodes
await "sluice that is active" systemctl is-active --quiet sluice
await "sluice that is ready" answers http://127.0.0.1:9102/readyz
await "a gateway in Consul's catalog" registered
await "a gateway that passes its check" passing

pid=$(systemctl show --property MainPID --value sluice)
is "the user" sluice "$(ps -o user= -p "$pid")"
is "the bounding set" 000000c000001400 "$(status CapBnd)"
is "the effective set" 000000c000001400 "$(status CapEff)"
is "no_new_privs" 1 "$(status NoNewPrivs)"
is "seccomp's mode" 2 "$(status Seccomp)"
is "the owner of the pins' directory" sluice "$(stat -c %U /sys/fs/bpf/sluice)"

systemctl reload sluice
await "sluice after a reload" answers http://127.0.0.1:9102/readyz
is "the process after a reload" "$pid" "$(systemctl show --property MainPID --value sluice)"

systemctl stop sluice
is "the result of a stop" success "$(systemctl show --property Result --value sluice)"
is "the exit status" 0 "$(systemctl show --property ExecMainStatus --value sluice)"
is "the number of restarts" 0 "$(systemctl show --property NRestarts --value sluice)"
gone() { ! registered; }
await "a catalog without the gateway" gone
systemctl start sluice
await "sluice that has started again" answers http://127.0.0.1:9102/readyz
