#!/usr/bin/env bash
# Installs the Debian packages that the demo and the tests call, if any is missing;
# with "vm", those that virtual machines take; with "bench", those of the benchmark.
set -euo pipefail

# command=package
needs=(
  clang=clang
  curl=curl
  ethtool=ethtool
  gcc=gcc
  haproxy=haproxy
  ip=iproute2
  llvm-strip=llvm
  nft=nftables
  nginx=nginx-light
  openssl=openssl
  promtool=prometheus
  shellcheck=shellcheck
  tstclnt=libnss3-tools
)
if [ "${1:-}" = vm ]; then
  needs+=(
    debootstrap=debootstrap
    qemu-system-x86_64=qemu-system-x86
    vagrant=vagrant
    xz=xz-utils
  )
fi
if [ "${1:-}" = bench ]; then
  needs+=(
    iperf3=iperf3
    sniproxy=sniproxy
    wrk=wrk
  )
fi

PATH=$PATH:/usr/sbin:/sbin
missing=()
for need in "${needs[@]}"; do
  command -v "${need%%=*}" >/dev/null || missing+=("${need##*=}")
done
# gcc without the C library's headers cannot build for the race detector.
[ -e /usr/include/stdlib.h ] || missing+=(libc6-dev)
[ -e /usr/include/bpf/bpf_helpers.h ] || missing+=(libbpf-dev)
[ "${1:-}" != bench ] || [ -e /usr/lib/nginx/modules/ngx_stream_module.so ] || missing+=(libnginx-mod-stream)
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "missing: ${missing[*]} (Debian's names); install them, or run this as root on Debian" >&2
  exit 1
fi

# The lab starts the servers that it wants: none is to run on the host because
# its package came.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
fi

echo "installing: ${missing[*]}"
log=$(mktemp)
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get update && apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
  cat "$log" >&2
  exit 1
fi
rm -f "$log"
