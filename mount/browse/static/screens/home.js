// Home: how well each item is protected, what runs now, and what is wrong, with the command that mends it.
import {html, nothing} from "../vendor/lit.js";
import {get, post} from "../api.js";
import {say, to} from "../page.js";
import {age, count, plain, shown, size, span, when} from "../text.js";
import {Looking, alertCard, choice, filterBox, lookTrouble, pager, state} from "./known.js";

const COUNT = 25; // items at once
const NAMES = 100; // that are shown before the first look
/** @type {Record<string, string>} */
const SIGNS = {g: "\u2713", p: "!", f: "\u2716", m: "\u25cb", ".": "\u00b7"};
/** @type {Record<string, string>} */
const CLASSES = {g: "good", p: "problems", f: "failed", m: "missed", ".": "none"};
/** @type {[string, string][]} */
const STATES = [["", "all"], ["attention", "what needs you"], ["critical", "critical"], ["warning", "warning"],
  ["unknown", "nothing yet"], ["paused", "paused"], ["fine", "fine"]];

class Home extends Looking {
  static properties = {page: {state: true}, machines: {state: true}, beginning: {state: true}};

  constructor() {
    super();
    /** @type {any} */
    this.page = null;
    /** Names, until the vault has been looked at. @type {any[] | null} */
    this.machines = null;
    this.beginning = ""; // the item whose backup is being begun
  }

  /** @param {any} event */
  concerns(event) {
    return ["alert", "job", "restore", "drive", "point"].includes(event?.type);
  }

  async refresh() {
    const fresh = this.token();
    const params = this.url.searchParams;
    const page = await get("/health", {
      from: params.get("from"), count: COUNT, filter: params.get("filter"), only: params.get("only"),
    });
    if (!fresh()) return false;
    this.page = page;
    if (!page.checked && !this.machines && page.looking > 0.5) { // most looks are over by then
      get("/machines").then(({machines}) => (this.machines = machines), () => undefined);
    }
    return page.looking !== null || !page.checked;
  }

  get name() {
    return "Protection";
  }

  render() {
    const page = this.page;
    return html`<h1 tabindex="-1">Protection</h1>
      ${this.trouble()}
      ${page ? html`<div class="stack">${this.summary(page)}${lookTrouble(page)}${this.now(page)}${this.alerts(page)}
        ${page.checked ? this.items(page) : this.names()}${this.upkeep(page)}${this.reasons(page)}</div>`
        : this.problem ? nothing : this.loading("Asking what is known…")}`;
  }

  /** @param {any} page */
  summary(page) {
    const words = Object.entries(page.counts).filter(([, n]) => n)
      .map(([name, n]) => `${n.toLocaleString("en")} ${name === "unknown" ? "with nothing yet" : name}`);
    const checked = page.checked ? html`Looked at ${when(page.checked)}, ${age(page.checked)}.` : nothing;
    return html`<p class="overall">${state(page.state, page.checked ? undefined : "not known yet")}
      ${page.total ? html`<span>${count(page.total, "item")}: ${words.join(", ")}.</span>` : nothing}
      <span class="muted">${checked} ${page.looking === null ? nothing : page.looking > 5
        ? html`Looking at the vault for ${Math.round(page.looking)} seconds; it may be slow, or away.` : "Looking at the vault…"}</span></p>`;
  }

  /** @param {any} page */
  now(page) {
    const room = page.room;
    return html`<section aria-labelledby="now" class="card">
      <h2 id="now">Now</h2>
      ${page.running.length ? html`<ul>${page.running.map((/** @type {any} */ job) => html`<li><a href=${job.link}>${job.kind}${job.item_name
        ? html` of ${shown(job.item_name)}` : nothing}</a>${job.machine_name && !job.here ? html` on ${shown(job.machine_name)}` : nothing},
        since ${when(job.started)}</li>`)}</ul>` : html`<p>Nothing runs.</p>`}
      <p>${page.drives ? html`<a href="/drives">${count(page.drives, "drive")} open</a>` : "No drive is open."}
      ${room ? html` The vault's disk has ${size(room.free)} of ${size(room.size)} free.` : nothing}</p>
    </section>`;
  }

  /** @param {any} page */
  alerts(page) {
    return html`<section aria-labelledby="alerts" class="stack">
      <h2 id="alerts">Alerts</h2>
      ${page.alerts.length ? html`<ul class="plain stack">${page.alerts.map(alertCard)}</ul>
        ${page.alerts_total > page.alerts.length ? html`<p><a href="/alerts">All ${page.alerts_total} alerts</a></p>` : nothing}`
        : page.checked ? html`<p>No alert is open: nothing that was looked at is wrong.</p>`
        : html`<p class="muted">None are known before the vault has been looked at.</p>`}</section>`;
  }

  names() {
    const machines = this.machines;
    if (!machines) return nothing;
    if (!machines.length) return html`<rp-empty .why=${"No machine has been backed up into this vault yet."}
      .advice=${html`<code>rpdrive protect PATH</code> on a machine begins.`}></rp-empty>`;
    const first = machines.slice(0, NAMES);
    return html`<section aria-labelledby="items"><h2 id="items">Machines</h2><ul class="plain stack">
      ${first.map((machine) => html`<li><h3>${shown(machine.name)}</h3><ul>${machine.items.slice(0, 20).map((/** @type {any} */ item) =>
        html`<li><a href=${calendar(machine.id, item.id)}>${shown(item.name)}</a></li>`)}</ul></li>`)}
      </ul>${machines.length > NAMES ? html`<p>and ${machines.length - NAMES} more</p>` : nothing}</section>`;
  }

  /** @param {any} page */
  items(page) {
    /** @type {any[][]} rows of one machine each */
    const groups = [];
    for (const row of page.items) {
      const last = groups.at(-1);
      if (last && last[0].machine === row.machine) last.push(row);
      else groups.push([row]);
    }
    return html`<section aria-labelledby="items" class="stack">
      <h2 id="items">Machines and items</h2>
      <div class="bar" role="search" aria-label="Items">${filterBox(this)}${choice(this, "only", "Show", STATES)}</div>
      ${groups.length ? groups.map((rows) => this.machine(rows)) : this.none(page)}
      ${pager(this.url, page, COUNT)}</section>`;
  }

  /** @param {any} page */
  none(page) {
    if (!page.total) return html`<rp-empty .why=${"Nothing has been backed up into this vault yet."}
      .advice=${html`<code>rpdrive protect PATH</code> on a machine begins.`}></rp-empty>`;
    const only = this.url.searchParams.get("only");
    if (only === "attention" && !this.url.searchParams.get("filter")) return html`<rp-empty .why=${"Nothing needs you."}></rp-empty>`;
    return html`<rp-empty .why=${`None of ${count(page.total, "item")} is like that.`} .advice=${html`<a href="/">Show all</a>`}></rp-empty>`;
  }

  /** @param {any[]} rows */
  machine(rows) {
    return html`<section class="card stack" aria-label=${plain(rows[0].machine_name)}>
      <h3>${shown(rows[0].machine_name)}${rows[0].machine === this.page.here ? html` <span class="badge">this machine</span>` : nothing}</h3>
      ${rows.map((row) => this.item(row))}</section>`;
  }

  /** @param {any} row */
  item(row) {
    return html`<article class="item">
      <p>${state(row.state)} <a href=${calendar(row.machine, row.item)}>${shown(row.item_name)}</a>${row.kind
        ? html` <span class="badge">${row.kind}</span>` : nothing} ${row.overdue
        ? html`<span class="badge bad">overdue${row.guessed ? " (a guess)" : ""}</span>` : nothing}</p>
      <p>${shown(row.words)}</p>
      <dl class="facts">
        <div><dt>Last good point</dt><dd>${row.last ? html`<a href=${to.folder(row.last_point)}>${when(row.last)}</a>, ${span(row.age_seconds) || "less than a minute"} ago` : "none"}</dd></div>
        <div><dt>Next backup</dt><dd>${row.next ? html`${when(row.next)}, ${age(row.next)}${row.schedule ? html` (${shown(row.schedule)})` : nothing}`
          : row.guessed && row.expected ? html`about ${when(row.expected)}: a guess, as it has ${row.schedule}` : shown(row.schedule || "none")}</dd></div>
        <div><dt>Recovery points</dt><dd>${row.points.toLocaleString("en")}</dd></div>
      </dl>
      ${strip(row.strip, plain(row.item_name))}${row.can_back_up ? this.button(row) : nothing}</article>`;
  }

  /** `Back up now`, and how the last backup ended that this page began. @param {any} row */
  button(row) {
    const last = this.page.backups.find((/** @type {any} */ each) => each.item === row.item);
    const busy = this.beginning === row.item || last?.state === "running";
    return html`${last?.state === "failed" ? html`<div class="notice bad" role="alert"><p><strong>The backup failed: ${shown(last.error)}</strong></p></div>` : nothing}
      <p class="bar"><button type="button" class="button" aria-disabled=${busy} aria-label="Back up ${plain(row.item_name)} now" @click=${() => this.backUp(row)}>${busy
        ? "Backing up…" : "Back up now"}</button>${last?.state === "done" ? html`<span class="muted">It was backed up at your word of ${when(last.started)}.</span>` : nothing}</p>`;
  }

  /** @param {any} row */
  backUp(row) {
    this.beginning = row.item;
    return this.act(async () => {
      try {
        await post("/backups", {item: row.item});
        say(`The backup of ${plain(row.item_name)} has begun`);
        await this.refresh();
      } finally {
        this.beginning = "";
      }
    });
  }

  /** @param {any} page */
  upkeep(page) {
    if (!page.upkeep.length) return nothing;
    return html`<section aria-labelledby="upkeep"><h2 id="upkeep">Upkeep</h2>
      <div class="scroll" tabindex="0" role="region" aria-label="Upkeep"><table class="data">
      <thead><tr><th scope="col">Machine</th><th scope="col">What</th><th scope="col">Last</th><th scope="col">Expected</th></tr></thead>
      <tbody>${page.upkeep.map((/** @type {any} */ row) => html`<tr><td class="words">${shown(row.machine_name)}</td><td>${row.what}</td><td class="nowrap">${row.last
        ? when(row.last) : "never"}</td><td class="nowrap">${row.expected ? when(row.expected) : "no plan"}${row.overdue
        ? html` <span class="badge warning">late</span>` : nothing}</td></tr>`)}</tbody></table></div></section>`;
  }

  /** @param {any} page */
  reasons(page) {
    if (!page.reasons.length) return nothing;
    return html`<section aria-labelledby="unread" class="notice warning"><h2 id="unread">What could not be read</h2>
      <ul>${page.reasons.map((/** @type {string} */ why) => html`<li>${shown(why)}</li>`)}</ul></section>`;
  }
}

/** @param {string} machine @param {string} item */
const calendar = (machine, item) => `/calendar?machine=${machine}&item=${item}`;

/** Thirty days, each with a sign and its words. @param {any} days @param {string} name */
function strip(days, name) {
  const first = Date.parse(`${days.first}T00:00:00Z`);
  return html`<ol class="days" aria-label="The last ${days.states.length} days of ${name}">${[...days.states].map((letter, n) => {
    const date = new Date(first + n * 86_400_000).toISOString().slice(0, 10);
    const points = days.points[n];
    const words = days.words[n] ?? (points ? count(points, "recovery point") : letter === "m" ? "a planned backup did not come"
      : letter === "g" ? "a backup ran" : "no backup");
    return html`<li class=${CLASSES[letter] ?? "none"} title="${date}: ${words}"><span aria-hidden="true">${SIGNS[letter] ?? "?"}</span><span
      class="visually-hidden">${date}: ${words}</span></li>`;
  })}</ol>`;
}

customElements.define("rp-home", Home);
