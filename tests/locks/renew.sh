#!/usr/bin/env bash
# Writes the files in this folder anew, with the newest versions that pyproject.toml allows. Needs `uv` and `npm`.
# tests/setup.sh and CI install these versions only, and compare the hash of every file that they fetch.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

lock() { # NAME ARGUMENTS...
    local name=$1
    shift
    uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
        --output-file "$name.txt" "$@"
}

echo 'setuptools>=77' | lock build -  # as in pyproject.toml
lock demo ../../pyproject.toml
lock test --extra dev ../../pyproject.toml windows.in
echo 'winfspy==0.8.4' | lock winfspy --no-deps -
cd azurite
rm -f package-lock.json
npm install --package-lock-only --omit-lockfile-registry-resolved --ignore-scripts --no-audit --no-fund
