#!/usr/bin/env bash
# Makes lit.js beside it from Lit's packages, by npm and esbuild. Run it to take a newer version, and commit the result.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
LIT=3.3.3
ESBUILD=0.28.2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/entry.js" <<'END'
export {LitElement, html, svg, nothing, render} from "lit";
export {repeat} from "lit/directives/repeat.js";
export {ref, createRef} from "lit/directives/ref.js";
export {live} from "lit/directives/live.js";
export {classMap} from "lit/directives/class-map.js";
export {ifDefined} from "lit/directives/if-defined.js";
export {keyed} from "lit/directives/keyed.js";
export {until} from "lit/directives/until.js";
END
npm install --prefix "$work" --no-audit --no-fund "lit@$LIT" "esbuild@$ESBUILD" >/dev/null
{
    echo "// Lit $LIT (lit, lit-html, lit-element, @lit/reactive-element), BSD-3-Clause: see LICENSE.lit. Made by vendor.sh."
    (cd "$work" && node_modules/.bin/esbuild entry.js --bundle --minify --format=esm --legal-comments=none)
} >lit.js
cp "$work/node_modules/lit/LICENSE" LICENSE.lit
