#!/bin/sh
# Installs what the tests need and this Debian or Ubuntu machine lacks; starts no service. Prints nothing when nothing is missing.
set -eu
missing=""
need() { # need PATH PACKAGE
	[ -e "$1" ] || missing="$missing $2"
}
need /usr/bin/gcc gcc
[ -e /usr/include/stdio.h ] || missing="$missing libc6-dev linux-libc-dev"
need /usr/bin/musl-gcc musl-tools
need /usr/sbin/nft nftables
need /usr/sbin/iptables iptables
need /usr/sbin/ufw ufw
need /usr/sbin/nginx nginx
need /usr/bin/redis-server redis-server
# Its package makes a first cluster of its own, which nothing starts.
ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || missing="$missing postgresql"
need /usr/bin/strace strace
need /usr/bin/docker-registry docker-registry
# Without it podman, where somebody has that, cannot start a pod for the bench to compare with.
[ ! -x /usr/bin/podman ] || need /usr/bin/catatonit catatonit
ldd /bin/busybox >/dev/null 2>&1 || [ -x /bin/busybox ] || missing="$missing busybox-static"
if [ -x /bin/busybox ] && ldd /bin/busybox 2>/dev/null | grep -q '=>'; then missing="$missing busybox-static"; fi
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	echo "please install:$missing" >&2
	exit 1
fi
echo "installing:$missing"
# Debian starts a service when its package is installed, unless this file says no. What is there already is the owner's.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
	trap 'rm -f "$policy"' EXIT INT TERM
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
install() { apt-get -o DPkg::Lock::Timeout=300 -q -y install --no-install-recommends $missing; }
install >/dev/null 2>&1 || { apt-get -o DPkg::Lock::Timeout=300 -q update && install; }
