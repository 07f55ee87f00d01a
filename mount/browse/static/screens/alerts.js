// Alerts: what is wrong with the protection of machines, and the command that mends each.
import {html, nothing} from "../vendor/lit.js";
import {get} from "../api.js";
import {age, when} from "../text.js";
import {Looking, alertCard, state} from "./known.js";

class Alerts extends Looking {
  static properties = {page: {state: true}};

  constructor() {
    super();
    /** @type {any} */
    this.page = null;
  }

  /** @param {any} event */
  concerns(event) {
    return event?.type === "alert";
  }

  async refresh() {
    const fresh = this.token();
    const page = await get("/alerts");
    if (fresh()) this.page = page;
    return !page.checked;
  }

  get name() {
    return "Alerts";
  }

  render() {
    const page = this.page;
    return html`<h1 tabindex="-1">Alerts</h1>
      ${this.trouble()}
      ${page ? html`<div class="stack">
        <p class="overall">${page.checked ? state(page.state) : state("unknown", "not known yet")} <span class="muted">${page.checked
          ? `Looked at ${when(page.checked)}, ${age(page.checked)}.` : "Looking at the vault…"}</span></p>
        ${page.alerts.length ? html`<ul class="plain stack">${page.alerts.map(alertCard)}</ul>` : this.none(page)}
        ${page.total > page.alerts.length ? html`<p>and ${page.total - page.alerts.length} more: <code>rpdrive alerts</code></p>` : nothing}
        </div>` : this.problem ? nothing : this.loading("Asking what is known…")}`;
  }

  /** @param {any} page */
  none(page) {
    return page.checked
      ? html`<rp-empty .why=${"No alert is open: nothing that was looked at is wrong."}
          .advice=${html`What has no plan is never late. <a href="/">See each item</a>.`}></rp-empty>`
      : html`<p class="muted">This machine knows of none. The vault is being looked at for more.</p>`;
  }
}

customElements.define("rp-alerts", Alerts);
