// The hits of a search: one row a path, with the points that have it and what can be done with it.
import {html, nothing, repeat} from "../vendor/lit.js";
import {basket} from "../basket.js";
import {Plain, say, to} from "../page.js";
import {count, kind, shown, size, when} from "../text.js";
import {rowKeys} from "./screen.js";

const STEP = 200; // rows drawn before "show more"

class SearchHits extends Plain {
  static properties = {hits: {attribute: false}, limit: {state: true}};

  constructor() {
    super();
    /** @type {any[]} */
    this.hits = [];
    this.limit = STEP;
  }

  async more() {
    const first = this.limit;
    this.limit += STEP;
    await this.updateComplete;
    /** @type {HTMLElement | null} */ (this.querySelectorAll("[data-first]")[first])?.focus();
  }

  /** Puts a hit into the basket, or takes it out. @param {any} hit @param {boolean} on */
  hold(hit, on) {
    const {point, path64: at, path, kind, size, last} = hit;
    const place = {point, at, name: path.slice(path.lastIndexOf("/") + 1), path, kind, size, time: last};
    if (!on) basket.remove(place);
    else if (!basket.add(place)) return say("The basket is full.");
    say(on ? "In the basket" : "Taken out of the basket");
    this.requestUpdate();
  }

  render() {
    const left = this.hits.length - this.limit;
    return html`
      <p class="muted keys">On a row: Enter opens its folder, v versions, p preview, r restore, Space puts it into the basket.</p>
      <ol class="rows hits" @keydown=${rowKeys}>
        ${repeat(this.hits.slice(0, this.limit), (_hit, index) => index, (hit) => this.row(hit))}
      </ol>
      ${left > 0 ? html`<button class="button" type="button" @click=${this.more}>
        Show ${count(Math.min(left, STEP), "more hit", "more hits")} of ${left.toLocaleString("en")}</button>` : nothing}`;
  }

  /** @param {any} hit */
  row(hit) {
    const held = basket.has(hit.point, hit.path64);
    const span = hit.first === hit.last ? when(hit.first) : html`${when(hit.first)} – ${when(hit.last)}`;
    return html`
      <li data-row data-path=${hit.path}>
        <a data-first class="main" href=${to.folder(hit.point, hit.path64)}>${shown(hit.path, hit.name_bytes)}</a>
        <p class="muted">
          ${hit.kind === "file" ? size(hit.size) : kind(hit.kind)}${hit.time ? html`, changed ${when(hit.time)}` : nothing};
          in ${count(hit.points, "point", "points")}, ${span};
          ${count(hit.versions, "version", "versions")}${hit.counted === false ? " so far" : ""}
        </p>
        <p class="actions">
          <a href=${to.folder(hit.point, hit.path64)}>Show in folder</a>
          <a data-key="v" href=${to.versions(hit.machine, hit.item, hit.path64)}>Versions</a>
          ${hit.kind === "file" ? html`<a data-key="p" href=${to.preview(hit.point, hit.path64)}>Preview</a>` : nothing}
          <a data-key="r" href=${to.restore(hit.point, hit.path64)}>Restore</a>
          <button class="button" type="button" data-key="space" aria-pressed=${held ? "true" : "false"}
            @click=${() => this.hold(hit, !held)}>${held ? "In the basket" : "Into the basket"}</button>
        </p>
      </li>`;
  }
}

customElements.define("rp-search-hits", SearchHits);
