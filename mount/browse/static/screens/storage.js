// Storage: what backups added to the vault, by day, item or machine; a chart, and a table with every number.
import {html, nothing} from "../vendor/lit.js";
import {get} from "../api.js";
import {query} from "../page.js";
import {count, number, shown, size} from "../text.js";
import {Looking, choice} from "./known.js";

/** @type {[string, string][]} */
const BY = [["day", "day"], ["item", "item"], ["machine", "machine"]];
/** @type {[string, string][]} */
const DAYS = [["90", "90 days"], ["7", "7 days"], ["30", "30 days"], ["366", "a year"]];

class Storage extends Looking {
  static properties = {page: {state: true}};

  constructor() {
    super();
    /** @type {any} */
    this.page = null;
  }

  /** @param {any} event */
  concerns(event) {
    return event?.type === "store";
  }

  async refresh() {
    const fresh = this.token();
    const params = this.url.searchParams;
    const page = await get("/storage", {by: params.get("by"), days: params.get("days")});
    if (fresh()) this.page = page;
    return page.reading;
  }

  get name() {
    return "Storage";
  }

  render() {
    const page = this.page;
    return html`<h1 tabindex="-1">Storage</h1>
      <div class="bar" role="search" aria-label="What to show">${choice(this, "by", "By", BY)}${choice(this, "days", "in the last", DAYS)}</div>
      ${this.trouble()}
      ${page ? html`<div class="stack">${this.notes(page)}${this.tiles(page)}${page.total ? html`${this.chart(page)}${this.table(page)}` : this.none(page)}</div>`
        : this.problem ? nothing : this.loading("Counting…")}`;
  }

  /** @param {any} page */
  notes(page) {
    return html`${page.error ? html`<div class="notice warning" role="alert"><p><strong>${shown(page.error.message)}</strong></p>
      ${page.error.advice ? html`<p>${shown(page.error.advice)}</p>` : nothing}</div>` : nothing}
      ${page.partial ? html`<p class="notice">Partial: ${page.partial}.</p>` : nothing}`;
  }

  /** @param {any} page */
  tiles(page) {
    const {vault, cache} = page;
    return html`<dl class="tiles">
      <div><dt>Stored in this time</dt><dd>${size(page.total_stored)}</dd></div>
      <div><dt>New, uncompressed</dt><dd>${size(page.total_new)}</dd></div>
      ${vault.held === null ? nothing : html`<div><dt>In the vault (prune of ${vault.held_since})</dt><dd>${size(vault.held)}</dd></div>`}
      ${vault.room ? html`<div><dt>Free on the vault's disk</dt><dd>${size(vault.room.free)}</dd></div>` : nothing}
      ${cache ? html`<div><dt>Cache here, of ${size(cache.limit)}</dt><dd>${size(cache.used)}</dd></div>` : nothing}
    </dl>`;
  }

  /** @param {any} page */
  none(page) {
    if (page.reading) return this.loading("Listing the jobs…");
    if (page.error) return nothing;
    return html`<rp-empty .why=${`No job of the last ${page.days} days is recorded in this vault.`}></rp-empty>`;
  }

  /** @param {any} page */
  chart(page) {
    const width = Math.max(320, Math.min(960, Math.round(this.clientWidth || 720)));
    const src = `/api/v1/storage/chart.svg${query({by: page.by, days: page.days, width, read: page.read})}`;
    return html`<img class="chart" src=${src} width=${width} alt="Stored and new bytes by ${page.by}: ${size(page.total_stored)} stored of ${size(page.total_new)} new. The table has every number.">`;
  }

  /** @param {any} page */
  table(page) {
    const all = page.by === "day" ? [...page.rows].reverse() : page.rows;
    const rows = all.filter((/** @type {any} */ row) => row.stored || row.new || row.freed || row.points);
    return html`<div class="scroll" tabindex="0" role="region" aria-label="Storage by ${page.by}"><table class="data">
      <caption class="visually-hidden">What was added in the last ${page.days} days, by ${page.by}</caption>
      <thead><tr><th scope="col">${page.by[0].toUpperCase() + page.by.slice(1)}</th><th scope="col" class="number">Stored</th>
        <th scope="col" class="number">New</th><th scope="col" class="number">Freed</th><th scope="col" class="number">Points</th>
        <th scope="col" class="number">Files covered</th></tr></thead>
      <tbody>${rows.map((/** @type {any} */ row) => html`<tr><th scope="row" class=${row.date ? "nowrap" : "words"}>${row.date ?? shown(row.label)}</th><td class="number">${size(row.stored)}</td>
        <td class="number">${size(row.new)}</td><td class="number">${row.freed ? size(row.freed) : ""}</td><td class="number">${number(row.points)}</td>
        <td class="number">${number(row.files)}</td></tr>`)}</tbody></table></div>
      ${all.length > rows.length ? html`<p class="muted">${count(all.length - rows.length, page.by === "day" ? "other day" : "other one")}: nothing was added.</p>` : nothing}`;
  }
}

customElements.define("rp-storage", Storage);
