#!/bin/sh
# Install a server from the distribution's packages, but do not let it start by itself: the stack runs its own,
# and nothing shall listen on more than loopback.
# Usage: install-server.sh PACKAGE MINIMUM-VERSION [FURTHER-PACKAGE...]
set -eu
say() { printf 'install: %s\n' "$*" >&2; }
server=$1 least=$2
shift 2
command -v apt-get > /dev/null || { say "no apt-get here: install $server $least or newer yourself"; exit 1; }
root=""
[ "$(id -u)" = 0 ] || root=sudo

$root apt-get update -qq
version=$(apt-cache policy "$server" | sed -n 's/^ *Candidate: //p')
if ! dpkg --compare-versions "$version" ge "$least"; then
    say "$server $least or newer is needed, this distribution has ${version:-none}"
    exit 1
fi
say "installing the package $server (a minute, once)"
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' | $root tee $policy > /dev/null
    $root chmod 755 $policy
    trap '$root rm -f $policy' EXIT
    trap 'exit 130' INT TERM # a shell that a signal ends runs no trap of EXIT
fi
$root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$server" "$@" > /dev/null
if [ -d /run/systemd/system ]; then
    $root systemctl disable --quiet --now "$server" epmd.socket epmd.service 2> /dev/null || true
fi
