#!/bin/sh
# Install what the peer benchmark compares with: the distribution's XMPP servers with their PostgreSQL
# drivers, and the locked Python packages of the consumers in an environment of their own. What can't be
# installed is reported by the benchmark as not installed. Usage: install.sh FOLDER
set -eu
venv=$1
here=$(dirname "$0")
say() { printf 'install: %s\n' "$*" >&2; }
root=""
[ "$(id -u)" = 0 ] || root=sudo

install_servers() {
    command -v apt-get > /dev/null || { say "no apt-get here: ejabberd and Prosody are left out"; return; }
    missing=""
    for package in ejabberd erlang-p1-pgsql prosody lua-dbi-postgresql; do
        dpkg-query --show --showformat='${db:Status-Status}' "$package" 2> /dev/null | grep -qx installed || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    say "installing the packages$missing (a minute, once)"
    # The distribution would start both at once, on all interfaces: the benchmark runs private ones.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' | $root tee $policy > /dev/null
        $root chmod 755 $policy
        trap '$root rm -f $policy' EXIT
    fi
    $root apt-get update -qq || return 0
    $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing > /dev/null ||
        { say "could not install$missing"; return 0; }
    if [ -d /run/systemd/system ]; then
        $root systemctl disable --quiet --now ejabberd prosody 2> /dev/null || true
    fi
}

install_servers
say "installing the locked Python packages of the consumers into $venv (a minute, once)"
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$here/requirements.lock"
