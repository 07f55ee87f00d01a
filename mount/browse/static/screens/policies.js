// Policies and plans, in words: what is backed up when, for how long points are kept, and what is due next. Read only.
import {html, nothing} from "../vendor/lit.js";
import {get} from "../api.js";
import {age, plain, shown, when} from "../text.js";
import {filterBox, pager} from "./known.js";
import {Screen} from "./screen.js";

const COUNT = 20; // items at once

class Policies extends Screen {
  static properties = {page: {state: true}};

  constructor() {
    super();
    /** @type {any} */
    this.page = null;
  }

  async load() {
    const fresh = this.token();
    const params = this.url.searchParams;
    const page = await get("/policies", {from: params.get("from"), count: COUNT, filter: params.get("filter")});
    if (fresh()) this.page = page;
  }

  get name() {
    return "Policies and plans";
  }

  render() {
    const page = this.page;
    return html`<h1 tabindex="-1">Policies and plans</h1>
      <p class="muted">They are changed at a terminal: <code>rpdrive plan set</code>, <code>rpdrive policy set</code>.</p>
      <div class="bar" role="search" aria-label="Items">${filterBox(this)}</div>
      ${this.trouble()}
      ${page ? html`<div class="stack">${page.items.length ? page.items.map((/** @type {any} */ row) => this.item(row)) : this.none(page)}
        ${pager(this.url, page, COUNT)}${this.damaged(page)}</div>` : this.problem ? nothing : this.loading("Reading plans and policies…")}`;
  }

  /** @param {any} page */
  none(page) {
    return page.total
      ? html`<rp-empty .why=${"No item has such a name."} .advice=${html`<a href="/policies">Show all</a>`}></rp-empty>`
      : html`<rp-empty .why=${"There is nothing yet that a plan or a policy could be about."}
          .advice=${html`<code>rpdrive protect PATH</code> on a machine begins.`}></rp-empty>`;
  }

  /** @param {any} row */
  item(row) {
    const name = `${plain(row.item_name)} of ${plain(row.machine_name)}`;
    return html`<section class="card stack" aria-label=${name}>
      <h2>${shown(row.item_name)} <span class="muted">${shown(row.machine_name)}</span>${row.kind ? html` <span class="badge">${row.kind}</span>` : nothing}</h2>
      ${row.fault ? html`<div class="notice bad"><p><strong>${shown(row.fault)}</strong></p></div>` : nothing}
      <p>${shown(row.does)}${row.state ? html` <strong>It is ${shown(row.state)}.</strong>` : nothing}</p>
      <p>${shown(row.keeps)}</p>
      ${row.next.length ? html`<h3>Due next</h3><ul>${row.next.map((/** @type {any} */ due) =>
        html`<li>${due.what}: ${when(due.when)}, ${age(due.when)}</li>`)}</ul>` : html`<p class="muted">Nothing is due by itself.</p>`}
      ${this.table("Plan", row.plan, name)}${this.table("Policy", row.policy, name)}</section>`;
  }

  /** @param {string} title @param {any[]} lines @param {string} name */
  table(title, lines, name) {
    if (!lines.length) return nothing;
    return html`<details><summary>${title} in full</summary><div class="scroll" tabindex="0" role="region" aria-label="${title} of ${name}"><table class="data">
      <thead><tr><th scope="col">Field</th><th scope="col">Value</th><th scope="col">From</th></tr></thead>
      <tbody>${lines.map((line) => html`<tr><td class="nowrap">${line.field}</td><td class="words">${shown(line.value)}</td><td class="words">${shown(line.level)}</td></tr>`)}
      </tbody></table></div></details>`;
  }

  /** @param {any} page */
  damaged(page) {
    if (!page.damaged.length) return nothing;
    return html`<div class="notice warning"><p><strong>Records that can't be read</strong></p>
      <ul>${page.damaged.map((/** @type {string} */ why) => html`<li>${shown(why)}</li>`)}</ul></div>`;
  }
}

customElements.define("rp-policies", Policies);
