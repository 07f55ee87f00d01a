// How sizes, counts, times and names are written. Names are hostile: strangers choose the names of files that are backed up.
import {html, nothing} from "./vendor/lit.js";

/** Bytes as text, as the commands write them: `17 B`, `1.2 GiB`. @param {number | null | undefined} bytes */
export function size(bytes) {
  if (bytes === null || bytes === undefined) return "";
  if (bytes < 1024) return `${bytes} B`;
  const units = ["KiB", "MiB", "GiB", "TiB", "PiB"];
  let value = bytes / 1024;
  while (value >= 1023.95 && units.length > 1) {
    value /= 1024;
    units.shift();
  }
  return `${value.toFixed(1)} ${units[0]}`;
}

/** A number with separators of thousands. @param {number | null | undefined} n */
export const number = (n) => (n === null || n === undefined ? "" : n.toLocaleString("en"));

/**
 * `1 file`, `2,000 files`.
 * @param {number} n
 * @param {string} one
 * @param {string} [many]
 */
export const count = (n, one, many = `${one}s`) => `${number(n)} ${n === 1 ? one : many}`;

/**
 * A time of the interface by the clock of the machine that serves the page: `2026-11-23 09:12`.
 * @param {string | null | undefined} iso
 * @param {boolean} [seconds]
 */
export function when(iso, seconds = false) {
  return !iso ? "\u2013" : `${iso.slice(0, 10)} ${iso.slice(11, seconds ? 19 : 16)}`;
}

/** @type {[number, string][]} */
const STEPS = [[60, "minute"], [60, "hour"], [24, "day"], [7, "week"], [4.35, "month"], [12, "year"]];

/** How long ago: `3 hours ago`, `in 2 days`. @param {string | null | undefined} iso @param {number} [now] ms */
export function age(iso, now = Date.now()) {
  const then = iso ? Date.parse(iso) : NaN;
  if (Number.isNaN(then)) return "never";
  const seconds = (now - then) / 1000;
  const words = span(Math.abs(seconds));
  return words === "" ? "just now" : seconds < 0 ? `in ${words}` : `${words} ago`;
}

/** Seconds in one unit: `3 hours`; "" for less than a minute. @param {number} seconds */
export function span(seconds) {
  let value = seconds;
  let unit = "";
  for (const [step, name] of STEPS) {
    if (value < step) break;
    value /= step;
    unit = name;
  }
  return unit && count(Math.floor(value), unit);
}

// Controls, what turns the direction of text, and what is invisible.
const HIDDEN =
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb]|[\u{e0000}-\u{e0fff}]|^ +| +$/u;
/** @type {Record<number, string>} */
const SIGNS = {0: "NUL", 9: "TAB", 10: "LF", 13: "CR", 27: "ESC", 127: "DEL", 0x200b: "ZWSP", 0x200d: "ZWJ", 0x200e: "LRM", 0x200f: "RLM",
  0x202a: "LRE", 0x202b: "RLE", 0x202c: "PDF", 0x202d: "LRO", 0x202e: "RLO", 0x2066: "LRI", 0x2067: "RLI", 0x2068: "FSI", 0x2069: "PDI",
  0xfeff: "BOM"};

/** The visible sign of a character that has none. @param {string} text */
function sign(text) {
  const code = text.codePointAt(0) ?? 0;
  if (code === 0x20) return "\u2423".repeat(text.length);
  return `[${SIGNS[code] ?? `U+${code.toString(16).toUpperCase().padStart(4, "0")}`}]`;
}

/** Cut into what is shown as it is (even places) and what gets a sign (odd). @param {string} name */
const pieces = (name) => name.split(new RegExp(`(${HIDDEN.source})`, "u"));

/**
 * A name or path as plain text for titles and labels: with signs for what is invisible, isolated from the text around it.
 * @param {string | null | undefined} name
 */
export function plain(name) {
  return pieces(name ?? "").map((piece, i) => (i % 2 ? sign(piece) : piece)).join("");
}

/**
 * A name or path for the page.
 * @param {string | null | undefined} name
 * @param {string | null | undefined} [bytes] `name_bytes`: base64 of a name that is not UTF-8
 */
export function shown(name, bytes) {
  const all = name ?? "";
  const inner = HIDDEN.test(all)
    ? pieces(all).map((piece, i) => (i % 2 ? html`<span class="odd">${sign(piece)}</span>` : piece))
    : all;
  return html`<bdi class="name">${inner}</bdi>${bytes
    ? html` <span class="badge" title="bytes: ${hexOf(bytes)}">not text</span>`
    : nothing}`;
}

/** @param {string} base64 */
const hexOf = (base64) => Array.from(bytesOf(base64), (byte) => byte.toString(16).padStart(2, "0")).join(" ");

/** The bytes of base64 or base64url; none if it is malformed, as in an address that was typed. @param {string} base64 @returns {Uint8Array} */
export function bytesOf(base64) {
  try {
    return Uint8Array.from(atob(base64.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
  } catch {
    return new Uint8Array();
  }
}

/** Bytes as base64url without padding: a `path64`. @param {Uint8Array} bytes */
export function base64url(bytes) {
  let raw = "";
  for (const byte of bytes) raw += String.fromCharCode(byte);
  return btoa(raw).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

export const ROOT = "Lw"; // path64 of "/"

/**
 * The `path64` of an entry of a folder.
 * @param {string} folder path64
 * @param {{name: string, name_bytes?: string | null}} entry
 */
export function below(folder, entry) {
  const up = folder === ROOT ? new Uint8Array() : bytesOf(folder);
  const name = entry.name_bytes ? bytesOf(entry.name_bytes) : new TextEncoder().encode(entry.name);
  const path = new Uint8Array(up.length + 1 + name.length);
  path.set(up);
  path[up.length] = 0x2f;
  path.set(name, up.length + 1);
  return base64url(path);
}

/**
 * The folder that holds a path, as path64, and the name in it; null for the root.
 * @param {string} path64
 * @returns {{folder: string, name: string} | null}
 */
export function parent(path64) {
  const bytes = bytesOf(path64);
  const cut = bytes.lastIndexOf(0x2f);
  if (bytes.length < 2) return null;
  return {folder: cut < 1 ? ROOT : base64url(bytes.subarray(0, cut)), name: new TextDecoder().decode(bytes.subarray(cut + 1))};
}

/** @type {Record<string, string>} */
const KINDS = {folder: "folder", file: "file", symlink: "link", char_device: "device", block_device: "disk", fifo: "pipe",
  socket: "socket", malformed: "malformed"};

/** The word for a kind of entry. @param {string} kind */
export const kind = (kind) => KINDS[kind] ?? kind;
