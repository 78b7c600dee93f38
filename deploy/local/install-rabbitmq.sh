#!/bin/sh
# Install the distribution's RabbitMQ, but do not let its own server start: the stack runs a private node,
# and nothing shall listen on more than loopback.
set -eu
say() { printf 'install: %s\n' "$*" >&2; }
command -v apt-get > /dev/null || { say "no apt-get here: install RabbitMQ 3.10 or newer, or name one in LCS_AMQP_URL"; exit 1; }
root=""
[ "$(id -u)" = 0 ] || root=sudo

say "installing the package rabbitmq-server (a minute, once)"
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' | $root tee $policy > /dev/null
    $root chmod 755 $policy
    trap '$root rm -f $policy' EXIT
fi
$root apt-get update -qq
$root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends rabbitmq-server > /dev/null
if [ -d /run/systemd/system ]; then
    $root systemctl disable --quiet --now rabbitmq-server epmd.socket epmd.service 2> /dev/null || true
fi
