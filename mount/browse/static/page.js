// What every screen shares: address, title, the polite live region, events of the program, and the base of elements.
import {LitElement} from "./vendor/lit.js";
import {get} from "./api.js";

/** @typedef {{version: string, hostname: string, zone: string, system: string, read_only: boolean, fingerprint: string | null,
 *   vault: {id: string, address: string}, contents: string, driver: boolean}} Session */

/** An element without a shadow: the one stylesheet serves it, and labels reach into it. */
export class Plain extends LitElement {
  createRenderRoot() {
    return this;
  }
}

/** The session, from the start of the page on. @type {{current: Session | null}} */
export const session = {current: null};

/** Name the screen, in the title of the tab. @param {string} text */
export function title(text) {
  document.title = text ? `${text} \u2013 rpdrive` : "rpdrive";
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let saying;

/** Tell it to screen readers, politely; only the last of what comes quickly is said. @param {string} text */
export function say(text) {
  clearTimeout(saying);
  saying = setTimeout(() => {
    const region = document.getElementById("live");
    if (region) region.textContent = region.textContent === text ? `${text}\u00a0` : text;
  }, 250);
}

/**
 * Whether the focus is where it was when something was asked for, or nowhere: an answer must not take it from whoever went on.
 * @param {Element | null} from
 */
export function stayed(from) {
  const at = document.activeElement;
  return !at || at === from || at === document.body || at.id === "main";
}

/** Open an address of the page. @param {string | URL} href @param {boolean} [replace] the entry in the history */
export function go(href, replace = false) {
  window.dispatchEvent(new Event("rp-leave")); // what is still to be noted in this address
  const depth = history.state?.depth ?? 0; // how many screens of ours are behind
  if (replace) history.replaceState(history.state, "", href);
  else history.pushState({depth: depth + 1}, "", href);
  window.dispatchEvent(new Event("rp-route"));
}

/**
 * Change parameters of the address in place: the same screen, no new entry in the history. Empty ones are left out.
 * @param {Record<string, string | number | boolean | null | undefined>} params
 */
export function note(params) {
  const url = new URL(location.href);
  for (const [name, value] of Object.entries(params)) {
    if (value === null || value === undefined || value === false || value === "") url.searchParams.delete(name);
    else url.searchParams.set(name, value === true ? "1" : `${value}`);
  }
  if (url.href !== location.href) history.replaceState(history.state, "", url);
}

/** @param {Record<string, string | number | boolean | null | undefined>} params @returns {string} "" or "?…" */
export function query(params) {
  const all = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (value !== null && value !== undefined && value !== false && value !== "") all.set(name, value === true ? "1" : `${value}`);
  }
  return all.size ? `?${all}` : "";
}

/** Addresses of the screens. */
export const to = {
  /** @param {string} point @param {string} [path64] */
  folder: (point, path64) => (path64 ? `/point/${point}/${path64}` : `/point/${point}`),
  /** @param {string} point @param {string} path64 */
  preview: (point, path64) => `/preview/${point}/${path64}`,
  /** @param {string} machine @param {string} item @param {string} path64 */
  versions: (machine, item, path64) => `/versions/${machine}/${item}/${path64}`,
  /** @param {string} point @param {string} path64 */
  restore: (point, path64) => `/restore?point=${point}&at=${path64}`,
};

// --- events of the program: one stream a tab, and none while the tab is hidden (a browser allows six connections) ---

/** @typedef {{type: string, id: string}} Told */
/** @type {Map<string, Set<(told: Told) => void>>} */
const listeners = new Map();
/** @type {EventSource | null} */
let stream = null;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let closing;
let missed = false;

const TYPES = ["job", "search", "restore", "drive", "point", "alert", "store"];

/** @param {Told} told */
function tell(told) {
  window.dispatchEvent(new CustomEvent("rp-event", {detail: told}));
  for (const type of [told.type, "*"]) for (const hear of listeners.get(type) ?? []) hear(told);
}

/** Begin to hear events, if the session allows it. They are sent to the window, too, as `rp-event`. */
export function connect() {
  if (stream || document.hidden || !session.current) return;
  stream = new EventSource("/api/v1/events");
  stream.onopen = () => {
    if (missed) for (const type of TYPES) tell({type, id: ""});
    missed = false;
  };
  stream.onmessage = (event) => {
    try {
      tell(JSON.parse(event.data));
    } catch {
      // not for us
    }
  };
  stream.onerror = () => {
    missed = true;
    if (stream?.readyState !== EventSource.CLOSED) return; // it tries again by itself
    stream = null;
    get("/session").then(() => setTimeout(connect, 5000), () => {}); // or the session is over, which the frame then says
  };
}

document.addEventListener("visibilitychange", () => {
  clearTimeout(closing);
  if (!document.hidden) connect();
  else {
    closing = setTimeout(() => {
      stream?.close();
      stream = null;
      missed = true;
    }, 5000);
  }
});

/**
 * Hear events of a type, one of TYPES. After a break each is called once with id "".
 * @param {string} type or "*"
 * @param {(told: Told) => void} hear
 * @returns {() => void} stops it
 */
export function on(type, hear) {
  const all = listeners.get(type) ?? new Set();
  listeners.set(type, all.add(hear));
  return () => {
    all.delete(hear);
    if (!all.size) listeners.delete(type);
  };
}
