#!/bin/sh
# Runs the end-to-end scenes in a fresh machine with pure cgroup v2: by hand or every night. Everything is built here; the machine needs
# neither Go nor packages nor a network.
#
#	VM="COMMAND" e2e/vm.sh [REGEX]
#
# VM is the beginning of a command that boots a machine, copies directories into it (--dir HOST:GUEST), runs a script in it as root
# (-c SCRIPT), prints its output and ends with its exit code; further options of its own (image, memory, time limit) go into VM as well:
#
#	VM="vm run --image bookworm --mem 4G --timeout 7200" e2e/vm.sh
#
# Such machines are slow: BERTH_E2E_PATIENCE (default 3m) is how long a scene waits for a thing to happen.
set -eu
cd "$(dirname "$0")/.."
: "${VM:?is not set: see the head of this file}"
scenes=${1:-.}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT INT TERM
export CGO_ENABLED=0
mkdir "$dir/cache"
go build -trimpath -o "$dir/berth" ./cmd/berth
go test -c -o "$dir/e2e.test" ./e2e
go test -c -o "$dir/leak.test" ./e2e/leak
BERTH_E2E_CACHE="$dir/cache" go run ./e2e/images/make
cat >"$dir/run.sh" <<END
set -eu
cd /root/e2e
PATH=/root/e2e/cache:\$PATH
export PATH BERTH_E2E_LANES=1 BERTH_E2E_BINARY=/root/e2e/berth BERTH_E2E_CACHE=/root/e2e/cache BERTH_E2E_PATIENCE=${BERTH_E2E_PATIENCE:-3m} BERTH_E2E_KILLS=${BERTH_E2E_KILLS:-11} BERTH_E2E_RATE=${BERTH_E2E_RATE:-5}
# What systemd hands down depends on the units it has started; the scenes' cgroup is one of its neighbours.
echo '+cpu +memory +pids' >/sys/fs/cgroup/cgroup.subtree_control
mkdir -p work && cd work
status=0
../leak.test || status=1
../e2e.test -test.timeout 3h -test.v -test.run '$scenes' || status=1
# And once as it is used: in a login session of systemd's, not in namespaces of the test's own.
BERTH_E2E_ISOLATE=0 ../e2e.test -test.timeout 1h -test.v -test.run '^(TestPodFromArchive|TestScale|TestDown|TestControllerKilled)$' || status=1
exit \$status
END
# Word splitting is meant: VM is a command with its options.
$VM --dir "$dir:/root/e2e" -c 'sh /root/e2e/run.sh'
