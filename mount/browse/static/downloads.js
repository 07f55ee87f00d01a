// Downloads that run or broke off, as the page shows them beside jobs. They are the browser's own: here is how far they are.
import {LitElement, html, nothing} from "./vendor/lit.js";
import {get} from "./api.js";
import {on} from "./page.js";
import {shown, size} from "./text.js";

const OFTEN = 1000; // ms between two looks while one runs
const BROKEN = 3; // that broke off, and are still named

/** @typedef {{id: string, name: string, what: string, start: number, end: number, total: number, sent: number, state: string,
 *   problem: string | null}} Row */

class Downloads extends LitElement {
  static properties = {rows: {state: true}};

  constructor() {
    super();
    /** @type {Row[]} */
    this.rows = [];
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    /** @type {(() => void) | null} */
    this.deaf = null;
  }

  createRenderRoot() {
    return this;
  }

  connectedCallback() {
    super.connectedCallback();
    this.deaf = on("job", () => this.look());
    this.look();
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    this.deaf?.();
    clearTimeout(this.timer);
  }

  async look() {
    clearTimeout(this.timer);
    try {
      const {downloads} = await get("/downloads");
      const running = downloads.filter((/** @type {Row} */ row) => row.state === "running");
      this.rows = [...running, ...downloads.filter((/** @type {Row} */ row) => row.state === "cut").slice(0, BROKEN)];
    } catch {
      return; // the screen itself says what is wrong
    }
    clearTimeout(this.timer);
    if (this.isConnected && this.rows.some((row) => row.state === "running")) this.timer = setTimeout(() => this.look(), OFTEN);
  }

  /** @param {Row} row */
  row(row) {
    if (row.state === "cut") return html`<li class="notice bad">${shown(row.name)} broke off: ${row.problem}</li>`;
    return html`<li>${shown(row.name)}
      <progress max=${row.total} .value=${row.sent} aria-label=${`Download of ${row.name}`}></progress>
      <span class="muted">${size(row.sent)} of ${size(row.total)}</span></li>`;
  }

  render() {
    if (!this.rows.length) return nothing;
    return html`<section class="stack" aria-label="Downloads"><h2>Downloads</h2>
      <ul class="plain stack">${this.rows.map((row) => this.row(row))}</ul></section>`;
  }
}

customElements.define("rp-downloads", Downloads);
