// The basket: what was marked in folders and searches, over several points, to restore or download at once.
import {html, nothing, repeat} from "../vendor/lit.js";
import {get} from "../api.js";
import {basket} from "../basket.js";
import {downloadBasket} from "../download.js";
import {say, to} from "../page.js";
import {count, kind, plain, shown, size, when} from "../text.js";
import {textOf} from "./places.js";
import {Screen, rowKeys} from "./screen.js";

class Basket extends Screen {
  static properties = {points: {state: true}};

  constructor() {
    super();
    /** PointInfo by id, or null if it can't be read. @type {Map<string, any>} */
    this.points = new Map();
    this.unlisten = () => {};
  }

  connectedCallback() {
    super.connectedCallback();
    this.unlisten = basket.listen(() => this.requestUpdate());
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    this.unlisten();
  }

  get name() {
    return "Basket";
  }

  async load() {
    const fresh = this.token();
    const ids = [...new Set(basket.list().map((each) => each.point))];
    const infos = await Promise.all(ids.map((id) => get(`/points/${id}`).catch(() => null)));
    if (fresh()) this.points = new Map(ids.map((id, index) => [id, infos[index]]));
  }

  /** @param {import("../basket.js").Place} entry @param {number} index */
  async takeOut(entry, index) {
    basket.remove(entry);
    say(`${textOf(entry.at)} was taken out.`);
    await this.updateComplete;
    const rows = /** @type {NodeListOf<HTMLElement>} */ (this.querySelectorAll("[data-first]"));
    (rows[Math.min(index, rows.length - 1)] ?? /** @type {HTMLElement} */ (this.querySelector("h1"))).focus();
  }

  clear() {
    basket.clear();
    say("The basket is empty.");
    this.focusOn("h1");
  }

  render() {
    const all = basket.list();
    const known = all.reduce((sum, each) => sum + (each.size ?? 0), 0);
    return html`
      <h1 tabindex="-1">Basket</h1>
      ${this.trouble()}
      ${all.length ? html`
        <p>${count(all.length, "entry", "entries")} of ${count(new Set(all.map((each) => each.point)).size, "point", "points")},
          ${size(known)}.</p>
        <p class="toolbar">
          <a class="button primary" href="/restore">Restore…</a>
          <button class="button" type="button" @click=${() => this.act(() => downloadBasket("tar"))}>Download as tar</button>
          <button class="button" type="button" @click=${() => this.act(() => downloadBasket("zip"))}>Download as zip</button>
          <button class="button" type="button" @click=${this.clear}>Empty the basket</button>
        </p>
        <p class="muted keys">On a row: Enter shows it in its folder, x takes it out.</p>
        <ul class="rows" @keydown=${rowKeys}>
          ${repeat(all, (each) => each.point + each.at, (each, index) => this.row(each, index))}
        </ul>`
        : html`<rp-empty .why=${"The basket is empty: mark entries with Space in a folder, or by Basket in a search."}></rp-empty>`}
    `;
  }

  /** @param {import("../basket.js").Place} entry @param {number} index */
  row(entry, index) {
    const point = this.points.get(entry.point);
    return html`
      <li data-row>
        <a data-first class="main" href=${to.folder(entry.point, entry.at)}>${shown(textOf(entry.at))}</a>
        <p class="muted">
          ${kind(entry.kind)}${typeof entry.size === "number" ? html`, ${size(entry.size)}` : nothing};
          ${point ? html`${point.machine_name}: ${point.item_name}, ${when(point.time)}`
            : point === null ? "✗ its recovery point can't be read" : "reading the point…"}
        </p>
        <p class="actions"><button class="button" type="button" data-key="x" aria-label="Take out ${plain(entry.path)}"
          @click=${() => this.takeOut(entry, index)}>Take out</button></p>
      </li>`;
  }
}

customElements.define("rp-basket", Basket);
