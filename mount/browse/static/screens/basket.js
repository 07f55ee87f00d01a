// The basket: what was marked in folders and searches, over several points, to restore or download at once.
import {html, nothing, repeat} from "../vendor/lit.js";
import {get} from "../api.js";
import {count, shown, size, when} from "../text.js";
import {downloadAll, drop, empty, held} from "./held.js";
import {pointPage, textOf} from "./places.js";
import {Screen, rowKeys} from "./screen.js";

class Basket extends Screen {
  static properties = {points: {state: true}};

  constructor() {
    super();
    /** PointInfo by id, or null if it can't be read. @type {Map<string, any>} */
    this.points = new Map();
    this.changed = () => this.requestUpdate();
  }

  connectedCallback() {
    super.connectedCallback();
    window.addEventListener("rp-basket", this.changed);
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    window.removeEventListener("rp-basket", this.changed);
  }

  async load() {
    const fresh = this.token();
    const ids = [...new Set(held().map((each) => each.point))];
    const infos = await Promise.all(ids.map((id) => get(`/points/${id}`).catch(() => null)));
    if (fresh()) this.points = new Map(ids.map((id, index) => [id, infos[index]]));
  }

  /** @param {import("./held.js").Held} entry @param {number} index */
  async takeOut(entry, index) {
    drop(entry.point, entry.at);
    this.say(`${textOf(entry.at)} was taken out.`);
    await this.updateComplete;
    const rows = /** @type {NodeListOf<HTMLElement>} */ (this.querySelectorAll("[data-first]"));
    (rows[Math.min(index, rows.length - 1)] ?? /** @type {HTMLElement} */ (this.querySelector("h1"))).focus();
  }

  clear() {
    empty();
    this.say("The basket is empty.");
    this.focusOn("h1");
  }

  body() {
    const all = held();
    const known = all.reduce((sum, each) => sum + (each.size ?? 0), 0);
    return html`
      <h1 tabindex="-1">Basket</h1>
      ${this.trouble()}
      ${all.length ? html`
        <p>${count(all.length, "entry", "entries")} of ${count(new Set(all.map((each) => each.point)).size, "point", "points")},
          ${size(known)}.</p>
        <p class="toolbar">
          <a class="button primary" href="/restore?from=basket">Restore…</a>
          <button type="button" @click=${() => this.act(() => downloadAll("tar"))}>Download as tar</button>
          <button type="button" @click=${() => this.act(() => downloadAll("zip"))}>Download as zip</button>
          <button type="button" @click=${this.clear}>Empty the basket</button>
        </p>
        <p class="muted keys">On a row: Enter shows it in its folder, x takes it out.</p>
        <ul class="rows" @keydown=${rowKeys}>
          ${repeat(all, (each) => each.point + each.at, (each, index) => this.row(each, index))}
        </ul>`
        : html`<rp-empty .why=${"The basket is empty: mark entries with Space in a folder, or by Basket in a search."}></rp-empty>`}
    `;
  }

  /** @param {import("./held.js").Held} entry @param {number} index */
  row(entry, index) {
    const point = this.points.get(entry.point);
    return html`
      <li data-row>
        <a data-first class="main" href=${pointPage(entry.point, entry.at)}>${shown(textOf(entry.at))}</a>
        <p class="muted">
          ${entry.kind}${typeof entry.size === "number" ? html`, ${size(entry.size)}` : nothing};
          ${point ? html`${point.machine_name}: ${point.item_name}, ${when(point.time)}`
            : point === null ? "✗ its recovery point can't be read" : "reading the point…"}
        </p>
        <p class="actions"><button type="button" data-key="x" aria-label="Take out ${entry.path}"
          @click=${() => this.takeOut(entry, index)}>Take out</button></p>
      </li>`;
  }
}

customElements.define("rp-basket", Basket);
