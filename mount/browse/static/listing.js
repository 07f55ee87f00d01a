// The names of one folder of one recovery point, in one order and with one filter: windows of them, fetched as they come into sight.
import {get} from "./api.js";

const WINDOW = 200; // rows a request
const KEPT = 60; // windows in memory

/**
 * @typedef {{n: number, name: string, name_bytes?: string | null, kind: string, size: number | null, time: string | null,
 *   files?: number | null, target?: string | null, target_bytes?: string | null, hidden?: boolean}} Row
 * @typedef {{point: string, machine: string, item: string, time: string | null, path: string, path64: string, n: number,
 *   above: {name: string, path64: string}[], order: string, desc: boolean, filter: string, natural: boolean,
 *   state: string, read: number, total: number, shown: number, from: number, rows: Row[],
 *   previous: string | null, next: string | null, selected: number | null, selected_at: number | null, missing: boolean,
 *   nearest: string | null, problems: string[]}} FolderPage
 * @typedef {{order: string, desc: boolean, filter: string}} Sight
 */

export class Listing extends EventTarget {
  /** @type {FolderPage | null} */
  head = null;
  /** @type {unknown} */
  error = null;
  /** @type {Map<number, Row[]>} */
  #windows = new Map();
  /** @type {Map<number, AbortController>} */
  #asked = new Map();
  /** @type {Map<number, unknown>} */
  #failed = new Map();
  #over = new AbortController();

  /**
   * @param {string} point @param {string} at path64 of the folder @param {Sight} sight
   * @param {boolean} [descend] show the first folder below that has more than one folder in it
   */
  constructor(point, at, sight, descend = false) {
    super();
    this.descend = descend;
    this.point = point;
    this.at = at;
    this.asked = at; // what requests name: until the folder is whole, the file whose place in it is looked for
    this.sight = sight;
  }

  /** Whether it shows this. @param {string} point @param {string} at @param {Sight} sight */
  is(point, at, sight) {
    const {order, desc, filter} = this.sight;
    return this.point === point && (this.at === at || this.asked === at) && order === sight.order && desc === sight.desc && filter === sight.filter;
  }

  get total() {
    return this.head?.shown ?? 0;
  }

  get reading() {
    return this.head?.state === "reading";
  }

  /** @param {number} i @returns {Row | undefined} */
  row(i) {
    return this.#windows.get(Math.floor(i / WINDOW))?.[i % WINDOW];
  }

  /** @param {Row} row */
  key(row) {
    return row.n;
  }

  /** Answers that are still to come are dropped. */
  stop() {
    this.#over.abort();
    for (const asked of this.#asked.values()) asked.abort();
  }

  /** Fetch the first window: the one of row `index`. Raises ApiError. @param {number} index @returns {Promise<FolderPage>} */
  async open(index) {
    await this.#fetch(Math.floor(index / WINDOW), this.#over.signal);
    while (this.reading) {
      await new Promise((resolve) => setTimeout(resolve, 250));
      this.#over.signal.throwIfAborted();
      await this.#fetch(Math.floor(index / WINDOW), this.#over.signal);
    }
    return /** @type {FolderPage} */ (this.head);
  }

  /** @param {number} number @param {AbortSignal} signal @returns {Promise<void>} */
  async #fetch(number, signal) {
    const {order, desc, filter} = this.sight;
    const page = await get(`/points/${this.point}/folder`,
      {at: this.asked, order, desc, filter: filter || null, from: number * WINDOW, count: WINDOW, descend: this.descend || null}, signal);
    signal.throwIfAborted();
    if (this.head?.state === "whole" && page.state === "reading") return this.#fetch(number, signal); // an answer from before
    if (this.reading && page.state === "whole") this.#windows.clear(); // the order may be another now
    this.head = page;
    this.at = page.path64; // asked by a file's path, or by a root, it is another folder
    if (page.state === "whole") {
      this.asked = this.at;
      this.descend = false;
    }
    const plainOrder = order === "name" && !desc && !filter;
    if (page.state === "reading" && !plainOrder) this.head = {...page, shown: 0}; // these rows are in another order
    else {
      this.#windows.delete(number);
      this.#windows.set(number, page.rows);
      for (const old of this.#windows.keys()) {
        if (this.#windows.size <= KEPT) break;
        this.#windows.delete(old);
      }
    }
    this.dispatchEvent(new Event("change"));
    return undefined;
  }

  /** Rows are in sight: fetch them, then those around; forget what was asked for elsewhere. @param {number} first @param {number} last */
  want(first, last) {
    const [low, high] = [Math.floor(first / WINDOW), Math.floor(last / WINDOW)];
    for (const [number, asked] of this.#asked) {
      if (number < low - 1 || number > high + 1) asked.abort();
    }
    for (let number = low; number <= high; number += 1) this.#ask(number);
    const whole = !this.reading && [...Array(high - low + 1).keys()].every((i) => this.#windows.has(low + i));
    if (!whole) return;
    if (last % WINDOW > WINDOW / 2) this.#ask(high + 1);
    if (first % WINDOW < WINDOW / 2) this.#ask(low - 1);
  }

  /** @param {number} number */
  async #ask(number) {
    if (number < 0 || number * WINDOW >= this.total || this.#windows.has(number) || this.#asked.has(number)) return;
    if (this.#failed.has(number) || this.#over.signal.aborted) return;
    const asked = new AbortController();
    this.#asked.set(number, asked);
    try {
      await this.#fetch(number, asked.signal);
    } catch (error) {
      if (asked.signal.aborted) return;
      this.#failed.set(number, error);
      this.error = error;
      this.dispatchEvent(new Event("change"));
    } finally {
      if (this.#asked.get(number) === asked) this.#asked.delete(number);
    }
  }

  /** There are more points, or fewer: ask which come before and after this one. */
  async refresh() {
    try {
      const {previous, next} = await get(`/points/${this.point}/folder`, {at: this.at, count: 0}, this.#over.signal);
      if (!this.head) return;
      this.head = {...this.head, previous, next};
      this.dispatchEvent(new Event("change"));
    } catch {
      // what is shown stays
    }
  }

  /** Try again what failed. */
  again() {
    this.#failed.clear();
    this.error = null;
    this.dispatchEvent(new Event("change"));
  }

  /** Rows from first to last, both included, fetched if need be. Raises ApiError. @param {number} first @param {number} last */
  async slice(first, last) {
    const rows = [];
    for (let number = Math.floor(first / WINDOW); number <= Math.floor(last / WINDOW); number += 1) {
      if (!this.#windows.has(number)) await this.#fetch(number, this.#over.signal);
      rows.push(...(this.#windows.get(number) ?? []).map((row, i) => /** @type {[number, Row]} */ ([number * WINDOW + i, row])));
    }
    return rows.filter(([i]) => i >= first && i <= last).map(([, row]) => row);
  }

  /** The number of the first row whose name begins so. Raises ApiError. @param {string} prefix @param {AbortSignal} [signal] */
  async rank(prefix, signal) {
    const {order, desc, filter} = this.sight;
    for (;;) {
      const answer = await get(`/points/${this.point}/rank`, {at: this.at, order, desc, filter: filter || null, prefix}, signal);
      if (answer.state !== "reading") return /** @type {number} */ (answer.from);
      await new Promise((resolve) => setTimeout(resolve, 250));
      signal?.throwIfAborted();
      this.#over.signal.throwIfAborted();
    }
  }

  /**
   * The number of an entry, near where its name should be; -1 if it isn't there.
   * @param {string} name
   */
  async find(name) {
    const from = await this.rank(name);
    const rows = await this.slice(from, Math.min(this.total - 1, from + WINDOW - 1));
    const i = rows.findIndex((row) => row.name === name);
    return i < 0 ? -1 : from + i;
  }
}
