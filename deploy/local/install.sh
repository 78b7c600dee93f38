#!/bin/sh
# Make the virtual environment from the lock. On a bare Debian or Ubuntu it adds the package that
# `python3 -m venv` needs. Usage: install.sh FOLDER
set -eu
venv=$1
say() { printf 'install: %s\n' "$*" >&2; }

if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    say "Python 3.11 or newer is needed, this is $(python3 --version)"
    exit 1
fi
if ! python3 -c 'import ensurepip, venv' 2> /dev/null; then
    say "installing the package python3-venv"
    root=""
    [ "$(id -u)" = 0 ] || root=sudo
    $root apt-get update -qq
    $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv > /dev/null
fi
say "installing the locked Python packages into $venv (a minute, once)"
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
# The services are run from where they stand.
site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
printf '%s\n' "$PWD" "$PWD/services/frontend" "$PWD/services/archiving" "$PWD/services/admin-api" > "$site/lcs-archive.pth"
