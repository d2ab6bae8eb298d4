#!/bin/bash
# Install the system packages that the tests need beyond Python: tests/prepare.sh
#
# Says what it installs. Does nothing when all is there. Where it may not install (no root, no apt) it says what is missing and what that
# costs, and ends well; with CI=true that is a failure.
set -euo pipefail

# command (its package): what it is for
needed=(
    "dockerd docker.io the notebook's container"
    "docker docker.io the notebook's container"
    "iptables iptables the notebook's container"
    "ip iproute2 the notebook's container"
    "debootstrap debootstrap the container's base image, where no registry can be reached"
    "fusermount3 fuse3 /data by s3fs"
    "s3fs s3fs /data by s3fs"
    "chromium chromium the pages, in a browser"
    "initdb postgresql the ledger on PostgreSQL"
    "restic restic homes' backups"
    "bwrap bubblewrap homes' backups"
    "mkfs.xfs xfsprogs homes with a hard limit"
    "linux.uml user-mode-linux homes with a hard limit, in a kernel that has XFS's quotas"
)
PATH=$PATH:/usr/sbin:/sbin

missing=()
look() {
    missing=()
    for bin in /usr/lib/postgresql/*/bin; do PATH=$PATH:$bin; done # Debian keeps them by version, away from PATH
    local command package purpose
    for line in "${needed[@]}"; do
        read -r command package purpose <<< "$line"
        command -v "$command" > /dev/null || missing+=("$line")
    done
}
packages() { printf '%s\n' "${missing[@]}" | awk '{print $2}' | sort -u | tr '\n' ' '; }

look
if [ "${#missing[@]}" -gt 0 ] && [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
    echo "tests: installing by apt: $(packages)"
    export DEBIAN_FRONTEND=noninteractive
    log=$(mktemp)
    # A first boot may hold dpkg's lock for a while. One package that can't be had must not keep the others away.
    apt=(apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -qq)
    timeout 300 "${apt[@]}" update > "$log" 2>&1 || { tail -n 3 "$log" >&2; echo "tests: apt-get update had errors; going on with what apt knows" >&2; }
    for package in $(packages); do
        # The engine is started by the tests, in a place of its own, so the package's service may fail to start (a container has no systemd).
        timeout 600 "${apt[@]}" install -y --no-install-recommends "$package" > "$log" 2>&1 < /dev/null \
            || { tail -n 3 "$log" >&2; echo "tests: apt-get install $package failed" >&2; }
    done
    rm -f "$log"
    look
fi

problems=0
for line in "${missing[@]}"; do
    read -r command package purpose <<< "$line"
    echo "tests: no command $command (package $package): tests of $purpose are skipped" >&2
    problems=1
done
if [ ! -e /dev/fuse ]; then
    # The module may be there and not loaded, or the node be missing in a container.
    modprobe fuse 2> /dev/null || true
    [ -e /dev/fuse ] || { [ "$(id -u)" = 0 ] && mknod -m 666 /dev/fuse c 10 229 2> /dev/null; } || true
    [ -e /dev/fuse ] || { echo "tests: no /dev/fuse: tests of /data by s3fs are skipped" >&2; problems=1; }
fi
if [ "$problems" = 1 ]; then
    if [ "${CI:-}" = true ]; then
        echo "tests: CI=true, so what is missing is a failure" >&2
        exit 1
    fi
    [ "$(id -u)" = 0 ] || echo "tests: to have them: sudo tests/prepare.sh" >&2
fi
