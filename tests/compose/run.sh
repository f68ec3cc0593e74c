#!/bin/sh
# Build and run the whole compose stack and check it: what `make compose-test` calls. With a Docker engine it uses that
# one and the real images; without one, as root on Debian 12, it starts an engine of its own with stand-in images made from
# Debian and Python packages (ENGINE: the folder of engine.sh), and stops it at the end.
#   WORK=/tmp/edgewise-engine   where the private engine keeps its images (2.5 minutes the first time)
#   WHEELS_PORT=18473           where a folder of wheels that only this machine sees is served to the build
#   TORCH_PIP_ARGS="…"          options of pip for torch in the build; by default the wheels that pip here finds by itself
set -eu
cd "$(dirname "$0")/../.."
ENGINE=${ENGINE:-$PWD/../shared/containers}
export WORK="${WORK:-/tmp/edgewise-engine}"
wheels_pid=

finish() {
    [ -z "$wheels_pid" ] || kill "$wheels_pid" 2>/dev/null || true
    [ "${private:-no}" = no ] || "$ENGINE/engine.sh" stop
}

private_engine() {
    [ -x "$ENGINE/engine.sh" ] || { echo "There is no Docker engine, and no $ENGINE/engine.sh to make one." >&2; exit 1; }
    private=yes
    eval "$("$ENGINE/engine.sh" env)"
    [ -x "$WORK/bin/dockerd" ] || "$ENGINE/engine.sh" install >/dev/null
    "$ENGINE/engine.sh" start
    image=$(sed -n 's/.*LABEL_STUDIO_IMAGE:-\(.*\)}$/\1/p' docker-compose.yml)
    if ! docker image inspect "$image" >/dev/null 2>&1; then
        LABEL_STUDIO_TAG=$image LABEL_STUDIO_VERSION=${image##*:} "$ENGINE/make-base-images.sh" label-studio >/dev/null
    fi
    docker build -q -t postgres:15-bookworm -f tests/compose/postgres.Dockerfile tests/compose >/dev/null
}

# A folder of wheels that pip here looks into is not visible inside a build: serve it on the bridge, to containers only.
serve_wheels() {
    folder=${PIP_FIND_LINKS:-}
    ls "$folder"/torch-*.whl >/dev/null 2>&1 || return 0
    bridge=$(docker network inspect bridge -f '{{(index .IPAM.Config 0).Gateway}}')
    port=${WHEELS_PORT:-18473}  # always the same: it is in the key of the layers that are kept of a build
    python3 -m http.server --bind "$bridge" -d "$folder" "$port" >/dev/null 2>&1 &
    wheels_pid=$!
    export TORCH_PIP_ARGS="--find-links http://$bridge:$port/ --trusted-host $bridge"
}

trap finish EXIT
trap 'exit 130' INT TERM
{ docker info && docker compose version; } >/dev/null 2>&1 || private_engine
[ -n "${TORCH_PIP_ARGS:-}" ] || serve_wheels
nice -n 10 .venv/bin/python -m tests.compose.check
