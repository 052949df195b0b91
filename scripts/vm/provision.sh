#!/usr/bin/env bash
# Makes a Debian machine one that runs Sluice: as a systemd service, with a Consul
# beside it, and with what it takes to build and test this tree. It may be run again,
# and then installs what has changed. Root; for a machine of its own.
#
#   provision.sh [TREE]    the checkout, by default the one that this file is in
#
# Where systemd does not run, services are enabled and not started.
set -euo pipefail

tree=$(cd "${1:-"$(dirname "$0")/../.."}" && pwd)
units=$tree/scripts/systemd
export DEBIAN_FRONTEND=noninteractive
export HOME=${HOME:-/root}

step() { echo "==> $*"; }

# install_go installs a Go that gets by itself the version that go.mod names: 1.21
# or later, which Debian 12 has among its backports.
install_go() {
  command -v go >/dev/null && return
  local release have
  release=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
  have=$(apt-cache policy golang-go | sed -n 's/^ *Candidate: \([0-9]*:\)\?\([0-9.]*\).*/\2/p')
  if dpkg --compare-versions "${have:-0}" ge 1.21; then
    apt-get install -q -y --no-install-recommends golang-go
    return
  fi
  local mirror
  mirror=$(apt-get indextargets --format "\$(REPO_URI)" "Created-By: Packages" "Label: Debian" "Codename: $release" | head -n 1)
  cat >/etc/apt/sources.list.d/backports.sources <<END
Types: deb
URIs: $mirror
Suites: $release-backports
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
END
  apt-get update -q
  apt-get install -q -y --no-install-recommends -t "$release-backports" golang-go
}

# put installs a file of ours; one for the administrator to change stays as it is.
put() { install -D -m 0644 "$units/$1" "$2"; }
put_once() { [ -e "$2" ] || put "$1" "$2"; }

step "packages"
apt-get update -q
apt-get install -q -y --no-install-recommends ca-certificates git make procps
"$tree/scripts/packages.sh"
# Tests start servers of their own; those that came with the packages stay off.
systemctl disable --quiet nginx.service haproxy.service
install_go
# The tree may be another user's, as it is when Vagrant copies it.
git config --system --replace-all safe.directory "$tree" "^$tree\$"

step "sluice"
cd "$tree"
make build
install -m 0755 bin/sluice /usr/local/bin/sluice
install -d /usr/local/share/man/man8 /etc/bash_completion.d
/usr/local/bin/sluice man >/usr/local/share/man/man8/sluice.8
echo 'complete -C /usr/local/bin/sluice sluice' >/etc/bash_completion.d/sluice
put sluice.sysusers /usr/lib/sysusers.d/sluice.conf
put sluice.tmpfiles /usr/lib/tmpfiles.d/sluice.conf
put sluice.service /etc/systemd/system/sluice.service
put_once sluice.hcl /etc/sluice/sluice.hcl

step "consul (the first time, building it takes about 10 minutes)"
consul=$(go run ./scripts/consul/program)
[ "$consul" -ef /usr/local/bin/consul ] || install -m 0755 "$consul" /usr/local/bin/consul
put consul.sysusers /usr/lib/sysusers.d/consul.conf
put consul.service /etc/systemd/system/consul.service
put_once consul.hcl /etc/consul.d/consul.hcl

step "services"
systemd-sysusers sluice.conf consul.conf
systemctl enable consul.service sluice.service
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  systemd-tmpfiles --create sluice.conf
  systemctl restart consul.service sluice.service
  systemctl --no-pager status consul.service sluice.service
fi

# "vagrant ssh -c 'make test'" starts in the user's home.
if user=$(getent passwd vagrant); then
  home=$(cut -d : -f 6 <<<"$user")
  cat >"$home/Makefile" <<END
# All targets are those of the tree, as root: tests make network namespaces.
.DEFAULT_GOAL := help
%:
	@sudo \$(MAKE) --no-print-directory -C $tree \$@ \$(MAKEOVERRIDES)
Makefile: ;
END
fi
step "done: systemctl status sluice consul; consul catalog services; make test"
