// The basket: places of recovery points that are meant for one download or restore. It belongs to this tab, over folders and points.

/** @typedef {{point: string, at: string, name: string, name_bytes?: string | null, path: string, kind: string,
 *   size: number | null, time: string, item_name?: string}} Place `time` is the time of the point */

const KEY = "rpdrive basket"; // in sessionStorage: it lives as long as the tab
const LIMIT = 200_000; // bytes of points and paths: a request may have 256 KiB

class Basket extends EventTarget {
  /** @type {Map<string, Place>} */
  #places = new Map();
  #bytes = 0;

  constructor() {
    super();
    this.#load();
    window.addEventListener("rp-basket", (event) => {
      if (/** @type {CustomEvent} */ (event).detail === this) return; // it was us
      this.#load();
      this.dispatchEvent(new Event("change"));
    });
  }

  #load() {
    this.#places.clear();
    this.#bytes = 0;
    try {
      for (const place of JSON.parse(sessionStorage.getItem(KEY) ?? "[]")) this.#put(place);
    } catch {
      // none is kept
    }
  }

  get size() {
    return this.#places.size;
  }

  /** @returns {Place[]} */
  list() {
    return [...this.#places.values()];
  }

  /** As requests want them. */
  places() {
    return this.list().map(({point, at}) => ({point, at}));
  }

  /** @param {string} point @param {string} at path64 */
  has(point, at) {
    return this.#places.has(`${point}/${at}`);
  }

  /** @param {Place} place */
  #put(place) {
    const key = `${place.point}/${place.at}`;
    if (this.#places.has(key)) return true;
    if (this.#bytes + key.length + 30 > LIMIT) return false;
    this.#bytes += key.length + 30;
    this.#places.set(key, place);
    return true;
  }

  /** Add places; false if not all had room. @param {...Place} places */
  add(...places) {
    const all = places.map((place) => this.#put(place)).every(Boolean);
    this.#changed();
    return all;
  }

  /** @param {...{point: string, at: string}} places */
  remove(...places) {
    for (const {point, at} of places) {
      if (this.#places.delete(`${point}/${at}`)) this.#bytes -= point.length + at.length + 31;
    }
    this.#changed();
  }

  clear() {
    this.#places.clear();
    this.#bytes = 0;
    this.#changed();
  }

  #changed() {
    try {
      sessionStorage.setItem(KEY, JSON.stringify(this.list()));
    } catch {
      // it lives in memory only
    }
    window.dispatchEvent(new CustomEvent("rp-basket", {detail: this}));
    this.dispatchEvent(new Event("change"));
  }

  /** @param {() => void} hear @returns {() => void} stops it */
  listen(hear) {
    this.addEventListener("change", hear);
    return () => this.removeEventListener("change", hear);
  }
}

export const basket = new Basket();
