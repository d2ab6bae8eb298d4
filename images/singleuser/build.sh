#!/bin/bash
# Build the notebook image: images/singleuser/build.sh [TAG]     (TAG: neve-singleuser:dev unless said otherwise)
#
# The engine is $DOCKER_HOST, or Docker's default. Works without a registry of containers: the base image is then made with debootstrap.
# A host that reaches its package index through a CA of its own lends its bundle to the build; see the Dockerfile's law.
set -euo pipefail

tag=${1:-neve-singleuser:dev}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$here/../.." && pwd)
own_base=neve-base:bookworm

say() { echo "image: $*"; }
fail() { echo "image: $*" >&2; exit 1; }

command -v docker > /dev/null || fail "there is no docker command: install Docker (Debian: apt-get install docker.io)."
answer=$(timeout 20 docker version --format '{{.Server.Version}}' 2>&1) \
    || fail "no Docker engine answers at ${DOCKER_HOST:-Docker\'s default address}: start one, or set DOCKER_HOST. ($answer)"
# From version 23 on the client builds with a plugin, buildx, that Debian and static installations may lack; the classic builder will do.
if [ "$(docker version --format '{{.Client.Version}}' | cut -d. -f1)" -ge 23 ] && ! docker buildx version > /dev/null 2>&1; then
    export DOCKER_BUILDKIT=0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

make_base() {
    [ "$(id -u)" = 0 ] || fail "no registry gives $base, and making it takes debootstrap as root: run this once as root."
    command -v debootstrap > /dev/null || fail "no registry gives $base, and there is no debootstrap to make it: apt-get install debootstrap."
    say "no registry gives $base: making it with debootstrap (half a minute)"
    timeout 600 debootstrap --variant=minbase --include=ca-certificates bookworm "$work/base" > "$work/debootstrap.log" 2>&1 \
        || { tail -n 5 "$work/debootstrap.log" >&2; fail "debootstrap failed, see above."; }
    rm -rf "$work"/base/var/cache/apt/* "$work"/base/var/lib/apt/lists/* "$work"/base/var/log/*.log
    tar -C "$work/base" --numeric-owner -c . | docker import --change 'CMD ["bash"]' - "$own_base" > /dev/null
    rm -rf "$work/base"
}

base=debian:bookworm-slim
if docker image inspect "$base" > /dev/null 2>&1; then
    :
elif docker image inspect "$own_base" > /dev/null 2>&1; then
    base=$own_base
elif timeout 120 docker pull --quiet "$base" > /dev/null 2>&1; then
    say "base image $base pulled"
else
    make_base
    base=$own_base
fi

# The context holds exactly what the Dockerfile copies.
context=$work/context
mkdir -p "$context/wheels" "$context/ca-certificates"
cp "$here/Dockerfile" "$here/entrypoint.sh" "$here/overrides.json" "$repo/constraints.txt" "$context/"
bundle=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
if [ -r "$bundle" ]; then cp "$bundle" "$context/ca-bundle.crt"; else : > "$context/ca-bundle.crt"; fi
for certificate in "$here"/ca-certificates/*.crt; do
    [ -e "$certificate" ] || continue
    cp "$certificate" "$context/ca-certificates/"
    { echo; cat "$certificate"; } >> "$context/ca-bundle.crt"
done
chmod -R u=rwX,go=rX "$context"

python=$repo/.venv/bin/python
[ -x "$python" ] || python=python3
"$python" - "$repo/pyproject.toml" > "$context/requirements.txt" <<'PY' || fail "reading pyproject.toml takes Python 3.11 or newer."
import sys, tomllib
project = tomllib.load(open(sys.argv[1], "rb"))["project"]
print("\n".join(project["dependencies"] + project["optional-dependencies"]["notebook"]))
PY

# Built from a copy: setuptools leaves build/ behind, and files that were deleted since would come back from there.
mkdir "$work/source"
tar -C "$repo" --exclude=__pycache__ --exclude='*.egg-info' -c pyproject.toml archiver extensions | tar -C "$work/source" -x
if [ -e "$repo/README.md" ]; then cp "$repo/README.md" "$work/source/"; else : > "$work/source/README.md"; fi
uv=$repo/.venv/bin/uv
[ -x "$uv" ] || uv=$(command -v uv || true)
export SOURCE_DATE_EPOCH=946684800 # the same source makes the same wheel, so that Docker's cache knows it
if [ -n "$uv" ]; then
    "$uv" build --quiet --wheel --out-dir "$context/wheels" "$work/source"
else
    "$python" -m pip wheel --quiet --no-deps --wheel-dir "$context/wheels" "$work/source"
fi > "$work/wheel.log" 2>&1 || { tail -n 20 "$work/wheel.log" >&2; fail "the wheel of neve does not build, see above."; }
rm -f "$context"/wheels/.gitignore

arguments=(--build-arg "BASE=$base" --build-arg "INDEX=${UV_DEFAULT_INDEX:-${PIP_INDEX_URL:-}}")
for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
    [ -z "${!name:-}" ] || arguments+=(--build-arg "$name")
done
say "building $tag on $base"
started=$SECONDS
timeout 1500 docker build "${arguments[@]}" --tag "$tag" "$context" > "$work/build.log" 2>&1 || { tail -n 40 "$work/build.log" >&2; fail "the build failed, see above."; }
say "$tag is ready ($((SECONDS - started)) s, $(docker image inspect --format '{{.Size}}' "$tag" | awk '{printf "%d MB", $1 / 1e6}'))"
