// Sizes, counts, times and names as people read them.
import {html} from "./vendor/lit.js";

/** Bytes: `17 B`, `1.2 GiB`. @param {number} n */
export function size(n) {
  if (n < 1024) return `${n} B`;
  let value = n / 1024;
  const units = ["KiB", "MiB", "GiB", "TiB", "PiB"];
  while (value >= 1023.95 && units.length > 1) {
    value /= 1024;
    units.shift();
  }
  return `${value.toFixed(1)} ${units[0]}`;
}

/** `1 file`, `2,000 files`. @param {number} n @param {string} thing @param {string} [things] */
export function count(n, thing, things) {
  return `${n.toLocaleString("en")} ${n === 1 ? thing : things ?? thing + "s"}`;
}

/** The wall-clock time of the machine that runs rpdrive. @param {string | null | undefined} iso */
export function when(iso) {
  return iso ? iso.slice(0, 19).replace("T", " ") : "–";
}

/** How long ago: `3 hours ago`. @param {string | null | undefined} iso @param {number} [now] ms */
export function age(iso, now = Date.now()) {
  if (!iso) return "never";
  const seconds = (now - Date.parse(iso)) / 1000;
  if (seconds < 0) return "in " + span(-seconds);
  return seconds < 60 ? "just now" : span(seconds) + " ago";
}

/** @param {number} seconds */
function span(seconds) {
  for (const [name, length] of /** @type {[string, number][]} */ ([["day", 86400], ["hour", 3600], ["minute", 60]])) {
    if (seconds >= length * (name === "day" ? 2 : 1)) return count(Math.floor(seconds / length), name);
  }
  return count(Math.floor(seconds), "second");
}

const BAD = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

/**
 * A name of a file, which strangers choose: isolated, with signs for what can't be seen.
 * @param {string} name @param {string} [bytes] base64, if it is not text
 */
export function shown(name, bytes) {
  const visible = name.replace(BAD, (c) => {
    const code = /** @type {number} */ (c.codePointAt(0));
    return code < 0x20 ? String.fromCodePoint(0x2400 + code) : `‹${code.toString(16).toUpperCase()}›`;
  });
  return html`<bdi class="name">${visible}</bdi>${bytes ? html` <span class="badge">not text</span>` : ""}`;
}
