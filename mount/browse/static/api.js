// Requests to the program that serves the page.
// `get` waits, while the store or the program is away, until it is back; the banner says so meanwhile (see away.listen).

/** An answer that is an error, in the words of the program. */
export class ApiError extends Error {
  /** @param {string} kind @param {string} message @param {string} advice @param {number} status of HTTP; 0: no answer */
  constructor(kind, message, advice, status) {
    super(message || "the request failed");
    this.kind = kind || "Unexpected";
    this.advice = advice || "";
    this.status = status;
  }
}

/** @typedef {Record<string, string | number | boolean | null | undefined>} Params */

/** The requests that wait because something is away. Hears `change`; `again` tries at once. */
class Away extends EventTarget {
  /** @type {Map<object, ApiError>} */
  failing = new Map();
  /** @type {Set<() => void>} */
  waiting = new Set();

  /** @returns {ApiError | null} */
  get error() {
    return [...this.failing.values()].at(-1) ?? null;
  }

  /** @param {object} request @param {ApiError | null} error */
  note(request, error) {
    const before = this.error?.message;
    if (error) this.failing.set(request, error);
    else this.failing.delete(request);
    if (this.error?.message !== before) this.dispatchEvent(new Event("change"));
  }

  again() {
    for (const go of [...this.waiting]) go();
  }
}
export const away = new Away();

/** @param {Params | undefined} params @returns {string} "" or "?…", without what is null or undefined */
function query(params) {
  const all = new URLSearchParams();
  for (const [name, value] of Object.entries(params ?? {})) {
    if (value !== null && value !== undefined) all.set(name, typeof value === "boolean" ? (value ? "1" : "0") : `${value}`);
  }
  return all.size ? `?${all}` : "";
}

// The other half of the session: cookies go to every port of a host, this to our origin alone.
const KEY = "rpdrive key"; // in localStorage, so that all tabs have it
let ours = "";

/** @returns {string} */
function key() {
  try {
    return localStorage.getItem(KEY) ?? ours;
  } catch {
    return ours;
  }
}

/** Keep the key of a session that has begun. @param {string} given */
function keep(given) {
  ours = given;
  try {
    localStorage.setItem(KEY, given);
  } catch {
    // it lives as long as this tab's document
  }
}

// Screens ask again by themselves. Without a person before it, that must not keep the page from ending when idle.
const PRESENT = 60_000; // ms after the last key or touch
let touched = Date.now();
for (const type of ["keydown", "pointerdown", "pointermove", "wheel", "touchstart"]) {
  addEventListener(type, () => (touched = Date.now()), {capture: true, passive: true});
}

/**
 * One request. Raises ApiError.
 * @param {string} method
 * @param {string} path below /api/v1
 * @param {unknown} [body]
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 */
async function ask(method, path, body, signal) {
  /** @type {RequestInit} */
  const options = {method, signal, credentials: "same-origin", cache: "no-store", headers: {"X-Rpdrive-Key": key()}};
  if (Date.now() - touched > PRESENT) options.headers = {...options.headers, "X-Rpdrive-Unattended": "1"};
  if (method !== "GET") {
    options.headers = {...options.headers, "Content-Type": "application/json"};
    options.body = JSON.stringify(body ?? {});
  }
  let response;
  let value;
  try {
    response = await fetch(`/api/v1${path}`, options);
    if (response.status === 204) return null;
    const text = await response.text();
    value = text ? JSON.parse(text) : null;
  } catch (error) {
    if (signal?.aborted) throw error;
    if (response && !(error instanceof TypeError)) {
      throw new ApiError("NoAnswer", `the answer is malformed (HTTP ${response.status})`, "try again", response.status);
    }
    throw new ApiError("NoAnswer", "rpdrive does not answer", "see that `rpdrive browse` still runs, or start it again", 0);
  }
  if (response.ok) return value;
  const error = new ApiError(value?.kind, value?.message, value?.advice, response.status);
  if (error.status === 401) document.dispatchEvent(new CustomEvent("rp-locked", {detail: error}));
  throw error;
}

const SLOW = 10_000; // ms after which a request that has no answer is told: a store in a cloud is asked for minutes

/** May it work a little later, without a change by anybody? @param {unknown} error */
const passing = (error) => error instanceof ApiError && (error.status === 0 || error.status === 503);

/** @param {number} ms @param {AbortSignal} [signal] @returns {Promise<void>} */
function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const go = () => {
      clearTimeout(timer);
      away.waiting.delete(go);
      signal?.removeEventListener("abort", stop);
      resolve();
    };
    const stop = () => {
      clearTimeout(timer);
      away.waiting.delete(go);
      reject(signal?.reason);
    };
    const timer = setTimeout(go, ms);
    away.waiting.add(go);
    signal?.addEventListener("abort", stop, {once: true});
  });
}

/**
 * A request that may be made again, which waits while the store or the program is away. Raises ApiError.
 * @param {() => Promise<any>} once
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 */
async function patiently(once, signal) {
  const request = {};
  const slow = setTimeout(() => {
    if (!away.failing.has(request)) away.note(request, new ApiError("NoAnswer", "there is no answer yet", "the vault's store may be slow, or away", 0));
  }, SLOW);
  try {
    for (let tries = 0; ; tries += 1) {
      try {
        return await once();
      } catch (error) {
        if (!passing(error)) throw error;
        away.note(request, /** @type {ApiError} */ (error));
        await pause(Math.min(15_000, 500 * 2 ** tries), signal);
      }
    }
  } finally {
    clearTimeout(slow);
    away.note(request, null);
  }
}

/**
 * GET of a path below /api/v1. Waits while the store or the program is away. Raises ApiError.
 * @param {string} path
 * @param {Params} [params] those that are null or undefined are left out
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 */
export function get(path, params, signal) {
  const full = path + query(params);
  return patiently(() => ask("GET", full, undefined, signal), signal);
}

/**
 * Begin a session with the token of a link. Raises ApiError.
 * @param {string} token
 * @returns {Promise<any>}
 */
export async function enter(token) {
  // The link is used up if only the answer gets lost. Asked again with the same `attempt`, it is answered once more.
  const attempt = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  const found = await patiently(() => ask("POST", "/session", {token, attempt}));
  keep(found.key);
  return found;
}

const LOADS = 4; // times that a script is asked for

/**
 * Import a script of the page, beside this one. Asked for again when it does not arrive: see guard/start.js. Raises ApiError.
 * @param {string} name
 */
export async function load(name) {
  for (let tries = 1; ; tries += 1) {
    try {
      return await import(name);
    } catch (error) {
      if (!(error instanceof TypeError) || tries === LOADS) {
        throw new ApiError("NoAnswer", "a part of this page can't be loaded", `reload the page: ${error}`, 0);
      }
    }
    await pause(250 * 2 ** tries);
  }
}

/** POST. Raises ApiError. @param {string} path @param {unknown} [body] @param {AbortSignal} [signal] @returns {Promise<any>} */
export const post = (path, body, signal) => ask("POST", path, body, signal);

/** DELETE. Raises ApiError. @param {string} path @param {Params} [params] @returns {Promise<any>} */
export const del = (path, params) => ask("DELETE", path + query(params));
