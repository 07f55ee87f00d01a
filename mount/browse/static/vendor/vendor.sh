#!/usr/bin/env bash
# Makes lit.js beside it from Lit's packages, by npm and esbuild. Run it to take a newer version, and commit the result.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
LIT=3.3.3
ESBUILD=0.28.2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/entry.js" <<'END'
export {LitElement, html, nothing, render} from "lit";
export {repeat} from "lit/directives/repeat.js";
export {live} from "lit/directives/live.js";
END
npm install --prefix "$work" --no-audit --no-fund "lit@$LIT" "esbuild@$ESBUILD" >/dev/null
{
    echo "// Lit $LIT (lit, lit-html, lit-element, @lit/reactive-element), BSD-3-Clause: see LICENSE.lit. Made by vendor.sh."
    (cd "$work" && node_modules/.bin/esbuild entry.js --bundle --minify --format=esm --legal-comments=none)
} >lit.js
cp "$work/node_modules/lit/LICENSE" LICENSE.lit
