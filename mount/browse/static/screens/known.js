// What the screens about protection share: states in a word and with a sign, alerts with their commands, a look now and then.
import {html, nothing} from "../vendor/lit.js";
import {age, count, shown, when} from "../text.js";
import {copyable} from "./copyable.js";
import {go} from "../page.js";
import {Screen} from "./screen.js";

const SOON = 700; // ms between two questions while the vault is being looked at
const LATER = 30_000; // ms otherwise

/** @type {Record<string, [string, string]>} the class and the word of a state */
const STATES = {
  fine: ["good", "fine"], warning: ["warning", "warning"], critical: ["critical", "critical"],
  unknown: ["unknown", "nothing yet"], paused: ["paused", "paused"],
};

/** A state in a word, with a sign. @param {string} name @param {string} [word] */
export function state(name, word) {
  const [css, usual] = STATES[name] ?? STATES.unknown;
  return html`<span class="state ${css}">${word ?? usual}</span>`;
}

/** @type {Record<string, string>} the class of an outcome */
const OUTCOMES = {
  completed: "good", "completed with warnings": "warning", failed: "critical", killed: "critical", interrupted: "warning",
  running: "running", skipped: "paused", missed: "warning",
};

/** @param {string} word */
export const outcome = (word) => html`<span class="state ${OUTCOMES[word] ?? "unknown"}">${word}</span>`;

/** An open alert, and what mends it. @param {any} alert */
export function alertCard(alert) {
  const css = alert.severity === "critical" ? "bad" : alert.severity === "warning" ? "warning" : "";
  const name = alert.severity === "critical" ? "critical" : alert.severity === "warning" ? "warning" : "unknown";
  return html`<li class="notice ${css}">
    <p>${state(name, alert.severity)} <strong>${shown(alert.title)}</strong>${alert.about ? html`: ${shown(alert.about)}` : nothing}</p>
    ${alert.text ? html`<p>${shown(alert.text)}</p>` : nothing}
    <p>${alert.advice ? html`To do: ${alert.advice}.` : nothing}</p>
    ${copyable(alert.where ? `On ${alert.where}` : "Command", alert.command)}
    <p class="muted">${alert.kind}, open since ${when(alert.opened)} (${age(alert.opened)})${alert.count > 1
      ? html`, ${count(alert.count, "time")}` : nothing}${alert.acknowledged
      ? html`; acknowledged ${when(alert.acknowledged)}${alert.reason ? html`: ${shown(alert.reason)}` : nothing}` : nothing}</p>
    ${alert.acknowledge ? html`<details><summary>It is known, and need not remind</summary>
      ${copyable("Acknowledge", alert.acknowledge)}</details>` : nothing}
  </li>`;
}

/** Why the vault can't be looked at, and what is shown meanwhile. @param {any} page */
export function lookTrouble(page) {
  if (!page.error) return nothing;
  return html`<div class="notice warning" role="alert">
    <p><strong>${shown(page.error.message)}</strong></p>
    ${page.error.advice ? html`<p>${shown(page.error.advice)}</p>` : nothing}
    <p>${page.checked ? `Below is what was known at ${when(page.checked)}.` : "Nothing is known yet."} This page goes on by itself.</p>
  </div>`;
}

/** A screen that asks again by itself: soon while something is looked at, now and then otherwise, and after events. */
export class Looking extends Screen {
  constructor() {
    super();
    this.waiting = 0;
    this.hasLooked = false;
  }

  /** One question. Returns whether more is to come soon. @returns {Promise<boolean>} */
  async refresh() {
    return false;
  }

  async load() {
    const fresh = this.token();
    const look = async () => {
      clearTimeout(this.waiting);
      this.wake = null;
      let soon = false;
      if (!document.hidden || !this.hasLooked) soon = await this.refresh();
      if (!fresh()) return;
      this.hasLooked = true;
      const again = () => look().catch((error) => fresh() && this.fail(error, () => this.attempt(() => this.load())));
      this.waiting = window.setTimeout(again, soon ? SOON : LATER);
      this.wake = () => {
        clearTimeout(this.waiting);
        this.waiting = window.setTimeout(again, 150);
      };
    };
    this.hasLooked = false;
    await look();
  }
}

/** A box that filters by name, into the address, without a new entry in the history. @param {Screen} screen */
export function filterBox(screen) {
  const box = /** @type {HTMLInputElement | null} */ (screen.querySelector("[type=search]:focus")); // it knows better than the address
  return html`<label class="field-line">Name <input type="search" maxlength="200" .value=${box?.value ?? screen.url.searchParams.get("filter") ?? ""}
    @input=${(/** @type {Event} */ event) => {
      const text = /** @type {HTMLInputElement} */ (event.target).value;
      clearTimeout(typing);
      typing = setTimeout(() => screen.isConnected && change(screen, {filter: text, from: ""}), 250);
    }}></label>`;
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let typing;

/** A choice, into the address. @param {Screen} screen @param {string} name @param {string} label @param {[string, string][]} options */
export function choice(screen, name, label, options) {
  const now = screen.url.searchParams.get(name) ?? options[0][0];
  return html`<label class="field-line">${label} <select @change=${(/** @type {Event} */ event) =>
    change(screen, {[name]: /** @type {HTMLSelectElement} */ (event.target).value, from: ""})}>
    ${options.map(([value, words]) => html`<option value=${value} ?selected=${value === now}>${words}</option>`)}</select></label>`;
}

/** @param {Screen} screen @param {Record<string, string>} params */
function change(screen, params) {
  const url = new URL(screen.url);
  for (const [name, value] of Object.entries(params)) {
    if (value) url.searchParams.set(name, value);
    else url.searchParams.delete(name);
  }
  go(url, true); // so that the frame knows the address, too: it gives it to the screen again
}

/** Links to the pages before and after. @param {URL} url @param {{from: number, shown: number}} page @param {number} count */
export function pager(url, page, count) {
  if (page.shown <= count && !page.from) return nothing;
  const at = (/** @type {number} */ from) => {
    const link = new URL(url);
    if (from) link.searchParams.set("from", `${from}`);
    else link.searchParams.delete("from");
    return link.pathname + link.search;
  };
  const end = Math.min(page.from + count, page.shown);
  return html`<nav class="bar" aria-label="Pages">
    ${page.from ? html`<a class="button" href=${at(Math.max(page.from - count, 0))}>Back</a>` : nothing}
    <span>${page.from + 1}–${end} of ${page.shown.toLocaleString("en")}</span>
    ${end < page.shown ? html`<a class="button" href=${at(end)}>Next</a>` : nothing}</nav>`;
}
