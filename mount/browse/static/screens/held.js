// The basket, and downloads, as the screens use them.
import {post} from "../api.js";

const KEY = "rpdrive basket"; // in sessionStorage: it lives as long as the tab

/** @typedef {{point: string, at: string, path: string, kind: string, size: number | null}} Held */

/** Everything in the basket, in the order of its coming. @returns {Held[]} */
export function held() {
  try {
    const found = JSON.parse(sessionStorage.getItem(KEY) ?? "[]");
    return Array.isArray(found) ? found : [];
  } catch {
    return [];
  }
}

/** @param {Held[]} all */
function keep(all) {
  sessionStorage.setItem(KEY, JSON.stringify(all));
  window.dispatchEvent(new CustomEvent("rp-basket", {detail: all.length}));
}

/** The places to restore. */
export const places = () => held().map(({point, at}) => ({point, at}));

/** @param {string} point @param {string} at */
export const holds = (point, at) => held().some((each) => each.point === point && each.at === at);

/** Puts an entry in, or takes it out. @param {any} entry with point, path64, path, kind, size @param {boolean} on */
export function hold(entry, on) {
  const others = held().filter((each) => each.point !== entry.point || each.at !== entry.path64);
  const {point, path64: at, path, kind, size} = entry;
  keep(on ? [...others, {point, at, path, kind, size}] : others);
}

/** @param {string} point @param {string} at */
export const drop = (point, at) => keep(held().filter((each) => each.point !== point || each.at !== at));

export const empty = () => keep([]);

/** Downloads a file; a folder as an archive. @param {string} point @param {string} at @param {string} [as] */
export async function download(point, at, as = "attachment") {
  save(await post(`/points/${point}/link`, {at, as}));
}

/** Downloads the basket as one archive. @param {string} as `tar` or `zip` */
export async function downloadAll(as) {
  save(await post("/basket/link", {places: places(), as}));
}

/** @param {{url: string, name: string}} link */
function save({url, name}) {
  const anchor = document.createElement("a");
  anchor.href = url;
  anchor.download = name;
  document.body.append(anchor);
  anchor.click();
  anchor.remove();
}
