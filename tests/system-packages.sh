#!/bin/sh
# Debian packages that the tests run for real: Redis, PostgreSQL, Chromium, and npm for the scripted language model. Installed by itself as root, else named.
set -e
missing=""
command -v redis-server >/dev/null || missing="$missing redis-server"
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
command -v chromium >/dev/null || missing="$missing chromium"
command -v npm >/dev/null || missing="$missing nodejs npm"
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "Installing$missing: the tests run against the real ones."
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
else
  echo "The tests run against the real ones: please install$missing (Debian: sudo apt-get install$missing)." >&2
  exit 1
fi
