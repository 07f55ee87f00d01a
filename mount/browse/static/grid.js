// <rp-grid>: a table of any length. Rows have one height, and only those in sight are in the document.
//
//   .source   {total, row(i), want(first, last), slice(first, last), key(row)}; an EventTarget that fires `change`
//   .columns  [{key, label, cell(row), sort?, class?}]; the first names the row
//   .order .desc   which column is sorted, and how
//   .marked   row => is it marked?          .label   names the table
// Events: rp-open {row, index}, rp-mark {rows, on}, rp-active {row, index}, rp-order {key, desc}; keys that it doesn't know bubble.
import {html, nothing, render} from "./vendor/lit.js";
import {Plain, say} from "./page.js";
import {count} from "./text.js";

/**
 * @typedef {{total: number, row(i: number): any, want(first: number, last: number): void,
 *   slice(first: number, last: number): Promise<any[]>, key(row: any): unknown} & EventTarget} Source
 * @typedef {{key: string, label: string, cell(row: any): unknown, sort?: boolean, class?: string}} Column
 */

const SPARE = 8; // rows kept on either side of those in sight
const TALLEST = 8_000_000; // px: browsers cap the height of an element between 17 and 33 million
const RANGE = 2000; // rows that one stroke of keys may mark

class RpGrid extends Plain {
  static properties = {source: {attribute: false}, columns: {attribute: false}, order: {attribute: false},
    desc: {attribute: false}, marked: {attribute: false}, label: {attribute: false}};

  /** @type {Map<number, HTMLElement>} */
  #rows = new Map();
  /** @type {HTMLElement[]} */
  #pool = [];
  /** @type {Source | null} */
  #heard = null;
  #height = 0; // px of a row
  #top = 0; // the first row in sight; may be a fraction
  #active = 0;
  #anchor = -1; // where a range began; -1: none
  /** @type {any[]} */
  #ranged = []; // rows that the range has marked
  #frame = 0;
  #told = "";
  steps = 0; // how often the user moved
  #resized = new ResizeObserver(() => this.#measure());
  #change = () => this.requestUpdate();

  constructor() {
    super();
    /** @type {Source | null} */
    this.source = null;
    /** @type {Column[]} */
    this.columns = [];
    this.order = "";
    this.desc = false;
    /** @type {(row: any) => boolean} */
    this.marked = () => false;
    this.label = "";
  }

  /** The number of the active row. */
  get active() {
    return this.#active;
  }

  /** The active row, if it is loaded. */
  get row() {
    return this.source?.total ? this.source.row(this.#active) : undefined;
  }

  /** @returns {HTMLElement | null} */
  get #view() {
    return this.querySelector(".grid-view");
  }

  get #total() {
    return this.source?.total ?? 0;
  }

  /** How many whole rows are in sight. */
  get #fit() {
    return Math.max(1, Math.floor((this.#view?.clientHeight ?? 0) / (this.#height || 36)));
  }

  /** The height of all rows (px), and whether it is less than they need. */
  get #tall() {
    const all = this.#total * this.#height;
    return {px: Math.min(all, TALLEST), scaled: all > TALLEST};
  }

  connectedCallback() {
    super.connectedCallback();
    this.#resized.observe(this);
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    this.#resized.disconnect();
    this.#heard?.removeEventListener("change", this.#change);
    this.#heard = null;
  }

  updated() {
    if (this.source !== this.#heard) {
      this.#heard?.removeEventListener("change", this.#change);
      this.source?.addEventListener("change", this.#change);
      this.#heard = this.source;
      this.#told = "";
      this.#ranged = [];
    }
    this.#measure();
  }

  #measure() {
    const view = this.#view;
    if (!view) return;
    const probe = /** @type {HTMLElement} */ (this.querySelector(".grid-probe"));
    this.#height = probe.getBoundingClientRect().height || 36;
    this.paint();
  }

  /** Paint once before the next frame. */
  repaint() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.paint();
    });
  }

  /** Bring the rows in the document in line with what is in sight. */
  paint() {
    const view = this.#view;
    if (!view || !this.source || !this.#height) return;
    const total = this.#total;
    const holder = /** @type {HTMLElement} */ (view.firstElementChild);
    const tall = this.#tall;
    holder.style.setProperty("height", `${tall.px}px`);
    if (this.#active >= total) this.#active = Math.max(0, total - 1);
    this.#top = Math.max(0, Math.min(this.#top, total - view.clientHeight / this.#height));
    const at = this.#offset(view);
    if (Math.abs(view.scrollTop - at) >= 1) view.scrollTop = at;
    const first = Math.max(0, Math.floor(this.#top) - SPARE);
    const last = Math.min(total - 1, Math.ceil(this.#top) + this.#fit + SPARE);
    if (total) this.source.want(first, last);
    const wanted = new Set();
    for (let i = first; i <= last; i += 1) wanted.add(i);
    if (total) wanted.add(this.#active); // it keeps the focus, wherever it is
    const held = this.#index(document.activeElement); // the focus is on a row: it must not be lost on its way to the active one
    if (held >= 0 && held < total && this.#rows.has(held)) wanted.add(held);
    for (const [i, element] of this.#rows) {
      if (wanted.has(i)) continue;
      this.#rows.delete(i);
      element.remove();
      this.#pool.push(element);
    }
    let next = holder.firstElementChild;
    for (const i of [...wanted].sort((a, b) => a - b)) {
      let element = this.#rows.get(i);
      if (!element) {
        element = this.#pool.pop() ?? document.createElement("div");
        holder.insertBefore(element, next);
        this.#rows.set(i, element);
      }
      next = element.nextElementSibling;
      this.#fill(element, i);
      const y = tall.scaled ? Math.max(-TALLEST, Math.min(TALLEST, at + (i - this.#top) * this.#height)) : i * this.#height;
      element.style.setProperty("transform", `translateY(${y}px)`);
    }
    this.#pool.length = Math.min(this.#pool.length, 20);
    if (held >= 0 && held !== this.#active) this.focusRow();
    this.#tell();
  }

  /** Where the view is scrolled to (px) when #top is the first row. @param {HTMLElement} view */
  #offset(view) {
    const {px, scaled} = this.#tall;
    if (!scaled) return this.#top * this.#height;
    return (this.#top / (this.#total - view.clientHeight / this.#height)) * (px - view.clientHeight);
  }

  /** @param {HTMLElement} element @param {number} i */
  #fill(element, i) {
    const row = this.source?.row(i);
    const marked = row !== undefined && this.marked(row);
    const set = (/** @type {string} */ name, /** @type {string} */ value) => {
      if (element.getAttribute(name) !== value) element.setAttribute(name, value);
    };
    set("role", "row");
    set("class", `grid-row${marked ? " marked" : ""}${i === this.#active ? " active" : ""}`);
    set("aria-rowindex", `${i + 2}`);
    set("aria-selected", `${marked}`);
    set("tabindex", i === this.#active ? "0" : "-1");
    set("data-index", `${i}`);
    if (row === undefined) set("aria-busy", "true");
    else element.removeAttribute("aria-busy");
    render(row === undefined ? html`<span role="gridcell" class="grid-wait">\u2026</span>` : this.#cells(row, marked), element);
  }

  /** @param {any} row @param {boolean} marked */
  #cells(row, marked) {
    return html`<span role="gridcell" class="grid-mark"><span class="box" aria-hidden="true">${marked ? "\u2713" : ""}</span></span>${this.columns.map(
      (column) => html`<span role="gridcell" class="grid-${column.key} ${column.class ?? ""}">${column.cell(row)}</span>`)}`;
  }

  /** Tell about the active row when it has come. */
  #tell() {
    const row = this.row;
    const told = row === undefined ? "" : `${this.#active} ${this.source?.key(row)}`;
    if (!told || told === this.#told) return;
    this.#told = told;
    this.dispatchEvent(new CustomEvent("rp-active", {detail: {row, index: this.#active}}));
  }

  // --- moving ------------------------------------------------------------------------------------------------------------

  /**
   * Make a row the active one, and bring it into sight.
   * @param {number} index
   * @param {{focus?: boolean, middle?: boolean, step?: boolean}} [how] middle: put it in the middle if it is out of sight;
   *   step: the user does it
   */
  moveTo(index, {focus = true, middle = false, step = true} = {}) {
    if (step) this.steps += 1;
    const total = this.#total;
    if (!total) return;
    this.#active = Math.max(0, Math.min(total - 1, index));
    const fit = this.#fit;
    if (this.#active < this.#top || this.#active >= this.#top + fit) {
      if (middle) this.#top = this.#active - Math.floor(fit / 2);
      else this.#top = this.#active < this.#top ? this.#active : this.#active - fit + 1;
    }
    this.paint();
    if (focus) this.focusRow();
  }

  /** Put the focus on the active row; nothing that is below a dialog can have it before that is closed. */
  focusRow() {
    const dialog = document.querySelector("dialog[open]");
    if (dialog) dialog.addEventListener("close", () => this.focusRow(), {once: true});
    else this.#rows.get(this.#active)?.focus({preventScroll: true});
  }

  #scrolled() {
    const view = this.#view;
    if (!view || Math.abs(view.scrollTop - this.#offset(view)) < 1) return; // it was us
    const {px, scaled} = this.#tall;
    this.#top = scaled
      ? (view.scrollTop / (px - view.clientHeight)) * (this.#total - view.clientHeight / this.#height)
      : view.scrollTop / this.#height;
    this.repaint();
  }

  /** A wheel moves by rows, where a pixel of the bar is many of them. @param {WheelEvent} event */
  #wheel(event) {
    if (!this.#tall.scaled || event.ctrlKey) return;
    event.preventDefault();
    this.#top += event.deltaMode ? event.deltaY : event.deltaY / this.#height;
    this.repaint();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.#total || this.#index(event.target) < 0) return;
    const fit = this.#fit;
    /** @type {Record<string, number>} */
    const moves = {ArrowUp: this.#active - 1, ArrowDown: this.#active + 1, PageUp: this.#active - fit, PageDown: this.#active + fit,
      Home: 0, End: this.#total - 1};
    if (event.key in moves) {
      if (!event.shiftKey) this.#anchor = -1;
      else if (this.#anchor < 0) {
        this.#anchor = this.#active;
        this.#ranged = [];
      }
      this.moveTo(moves[event.key]);
      if (event.shiftKey) this.#range();
    } else if (event.key === " ") {
      const row = this.row;
      if (row !== undefined) this.#mark([row], !this.marked(row));
      this.#anchor = -1;
      if (!event.shiftKey) this.moveTo(this.#active + 1);
    } else if (event.key === "Enter") this.#open(this.#active);
    else return;
    event.preventDefault();
  }

  /** Mark what is between the anchor and the active row, and unmark what the range held before. */
  async #range() {
    const [first, last] = [Math.min(this.#anchor, this.#active), Math.max(this.#anchor, this.#active)];
    if (last - first >= RANGE) return say(`At most ${count(RANGE, "row")} at once: mark the folder instead`);
    const anchor = this.#anchor;
    const active = this.#active;
    const source = this.source;
    const rows = (await source?.slice(first, last)) ?? [];
    if (anchor !== this.#anchor || active !== this.#active || source !== this.source) return undefined; // moved on
    const keys = new Set(rows.map((row) => source?.key(row)));
    const before = this.#ranged.filter((row) => !keys.has(source?.key(row)));
    if (before.length) this.#mark(before, false);
    const fresh = rows.filter((row) => !this.marked(row));
    this.#ranged = [...this.#ranged.filter((row) => keys.has(source?.key(row))), ...fresh];
    if (fresh.length) this.#mark(fresh, true);
    return undefined;
  }

  /** @param {any[]} rows @param {boolean} on */
  #mark(rows, on) {
    this.dispatchEvent(new CustomEvent("rp-mark", {detail: {rows, on}}));
    this.paint();
  }

  /** @param {number} index */
  #open(index) {
    const row = this.source?.row(index);
    if (row !== undefined) this.dispatchEvent(new CustomEvent("rp-open", {detail: {row, index}}));
  }

  // --- the mouse, and fingers --------------------------------------------------------------------------------------------

  /** The number of the row that an element belongs to, or -1. @param {EventTarget | null} within @returns {number} */
  #index(within) {
    const element = within instanceof HTMLElement ? within.closest(".grid-row[data-index]") : null;
    return element instanceof HTMLElement && this.contains(element) ? Number(element.dataset.index) : -1;
  }

  /** @param {Event} event */
  #double(event) {
    const index = this.#index(event.target);
    if (index >= 0) this.#open(index);
  }

  /** @param {MouseEvent} event */
  #click(event) {
    const index = this.#index(event.target);
    if (index < 0) return;
    const target = /** @type {HTMLElement} */ (event.target);
    if (target.closest("a") && !event.shiftKey) return;
    const from = this.#active;
    this.moveTo(index);
    const row = this.row;
    if (event.shiftKey) {
      event.preventDefault();
      if (this.#anchor < 0) {
        this.#anchor = from;
        this.#ranged = [];
      }
      this.#range();
    } else {
      this.#anchor = -1;
      if (row !== undefined && (event.ctrlKey || event.metaKey || target.closest(".grid-mark"))) this.#mark([row], !this.marked(row));
    }
  }

  render() {
    return html`<div role="grid" class="grid" aria-label=${this.label} aria-rowcount=${this.#total + 1} aria-multiselectable="true"
        aria-colcount=${this.columns.length + 1} @keydown=${this.#key}>
      <div role="rowgroup" class="grid-head"><div role="row" class="grid-row grid-probe" aria-rowindex="1">
        <span role="columnheader" class="grid-mark"><span class="visually-hidden">Marked</span></span>${this.columns.map((column) =>
          this.#head(column))}</div></div>
      <div role="rowgroup" class="grid-view" @scroll=${this.#scrolled} @click=${this.#click}
        @wheel=${{handleEvent: (/** @type {WheelEvent} */ event) => this.#wheel(event), passive: false}}
        @dblclick=${this.#double}><div role="presentation" class="grid-all"></div></div>
    </div>`;
  }

  /** @param {Column} column */
  #head(column) {
    const now = this.order === column.key;
    if (!column.sort) return html`<span role="columnheader" class="grid-${column.key} ${column.class ?? ""}">${column.label}</span>`;
    return html`<span role="columnheader" class="grid-${column.key} ${column.class ?? ""}"
      aria-sort=${now ? (this.desc ? "descending" : "ascending") : "none"}><button type="button" @click=${() =>
        this.dispatchEvent(new CustomEvent("rp-order", {detail: {key: column.key, desc: now && !this.desc}}))}>${column.label}${now
          ? html`<span aria-hidden="true"> ${this.desc ? "\u25be" : "\u25b4"}</span>` : nothing}</button></span>`;
  }
}

customElements.define("rp-grid", RpGrid);
