// Jobs: what ran on all machines and how it ended; and one job in full, with its warnings and log.
import {html, nothing} from "../vendor/lit.js";
import {get} from "../api.js";
import "../downloads.js";
import {age, count, number, plain, shown, size, span, when} from "../text.js";
import {say} from "../page.js";
import {choice, outcome} from "./known.js";
import {Screen} from "./screen.js";

const COUNT = 50; // jobs at once
/** @type {[string, string][]} */
const KINDS = [["", "all"], ["backup", "backups"], ["restore", "restores"], ["restore test", "restore tests"], ["prune", "prunes"],
  ["check", "checks"], ["repair", "repairs"]];
/** @type {[string, string][]} */
const OUTCOMES = [["", "any"], ["completed", "completed"], ["completed with warnings", "with warnings"], ["failed", "failed"],
  ["interrupted", "interrupted"], ["killed", "killed"], ["running", "running"]];

/** @type {Record<string, string>} */
const DOWNLOADS = {done: "completed", cut: "failed", stopped: "interrupted"};

class Jobs extends Screen {
  static properties = {jobs: {state: true}, next: {state: true}, searched: {state: true}, damaged: {state: true}, one: {state: true},
    more: {state: true}, downloads: {state: true}};

  constructor() {
    super();
    /** @type {any[] | null} */
    this.jobs = null;
    /** The cursor for older ones. @type {string | null} */
    this.next = null;
    this.searched = 0;
    /** @type {string[]} */
    this.damaged = [];
    /** @type {any} */
    this.one = null;
    this.more = false;
    /** Of this page, and others that this process serves. @type {any[]} */
    this.downloads = [];
  }

  /** @param {any} event */
  concerns(event) {
    return event?.type === "job" || event?.type === "restore";
  }

  get wanted() {
    const params = this.url.searchParams;
    return {kind: params.get("kind"), outcome: params.get("outcome"), machine: params.get("machine"), count: COUNT};
  }

  async load() {
    const fresh = this.token();
    const id = this.url.pathname.split("/")[2];
    if (id) {
      const one = await get(`/jobs/${encodeURIComponent(id)}`);
      if (!fresh()) return;
      this.one = one;
    } else {
      const [page, {downloads}] = await Promise.all([get("/jobs", this.wanted), get("/downloads")]);
      if (!fresh()) return;
      this.downloads = downloads;
      this.one = null;
      this.jobs = page.jobs;
      this.next = page.next;
      this.searched = page.searched;
      this.damaged = page.damaged;
    }
    this.wake = () => {
      if (fresh() && (this.one || (this.jobs?.length ?? 0) <= COUNT)) this.attempt(() => this.load());
    };
  }

  older() {
    const fresh = this.token();
    const from = document.activeElement;
    const first = this.jobs?.length ?? 0;
    this.more = true;
    return this.act(async () => {
      try {
        const page = await get("/jobs", {...this.wanted, cursor: this.next});
        if (!fresh()) return;
        this.jobs = [...(this.jobs ?? []), ...page.jobs];
        this.next = page.next;
        this.searched = page.searched;
        this.damaged = [...this.damaged, ...page.damaged].slice(0, 100);
        say(`${count(page.jobs.length, "older job")}`);
        this.focusOn(`tbody tr:nth-child(${first + 1}) a`, from); // the button had it
      } finally {
        this.more = false;
      }
    });
  }

  get name() {
    return this.one ? `${this.one.job.kind} of ${plain(this.one.job.item_name)}` : "Jobs";
  }

  render() {
    if (this.url.pathname.split("/")[2]) return this.full();
    return html`<h1 tabindex="-1">Jobs</h1><rp-downloads></rp-downloads>
      <div class="bar" role="search" aria-label="Jobs">${choice(this, "kind", "Show", KINDS)}${choice(this, "outcome", "that ended", OUTCOMES)}</div>
      ${this.trouble()}
      ${this.jobs ? html`${this.sending()}${this.list(this.jobs)}` : this.problem ? nothing : this.loading("Reading the jobs…")}`;
  }

  sending() {
    if (!this.downloads.length) return nothing;
    return html`<details ?open=${this.downloads.some((each) => each.state === "running")}><summary>${count(this.downloads.length, "download")} since rpdrive browse began</summary>
      <ul>${this.downloads.map((each) => html`<li>${shown(each.name)}: ${outcome(DOWNLOADS[each.state] ?? each.state)}, ${size(each.sent - each.start)} of
        ${size(each.end - each.start)}, ${when(each.started, true)}${each.problem ? html`: ${shown(each.problem)}` : nothing}</li>`)}</ul></details>`;
  }

  /** @param {any[]} jobs */
  list(jobs) {
    const end = this.next ? html`<p><button type="button" class="button" aria-disabled=${this.more} @click=${this.older}>${this.more
      ? "Reading…" : "Older jobs"}</button>${this.searched ? html` <span class="muted">${number(this.searched)} older ones are not like that; there are more.</span>`
      : nothing}</p>` : nothing;
    return html`${jobs.length ? html`<div class="scroll" tabindex="0" role="region" aria-label="Jobs"><table class="data">
      <thead><tr><th scope="col">Began</th><th scope="col">Outcome</th><th scope="col" class="roomy">What</th><th scope="col" class="roomy">Of</th>
        <th scope="col" class="number">Took</th><th scope="col" class="number">Files</th><th scope="col" class="number">Size</th>
        <th scope="col" class="number">Stored</th><th scope="col" class="number">Warnings</th></tr></thead>
      <tbody>${jobs.map((job) => html`<tr>
        <td><a href="/jobs/${job.id}">${when(job.started)}</a><span class="narrow">${job.kind}${job.item_name
          ? html` of ${shown(job.item_name)}` : nothing}, ${shown(job.machine_name)}</span></td>
        <td class="words">${outcome(job.outcome)}</td><td class="roomy">${job.kind}</td><td class="words roomy">${shown(job.item_name)} <span class="muted">${shown(job.machine_name)}</span></td>
        <td class="number">${took(job)}</td><td class="number">${number(job.files)}</td><td class="number">${size(job.bytes)}</td>
        <td class="number">${job.stored ? size(job.stored) : ""}</td><td class="number">${job.warnings ? number(job.warnings) : ""}</td></tr>`)}
      </tbody></table></div>` : this.next ? nothing : this.none()}
      ${end}
      ${this.damaged.length ? html`<div class="notice warning"><p><strong>${count(this.damaged.length, "record")} can't be read</strong></p>
        <ul>${this.damaged.map((why) => html`<li>${shown(why)}</li>`)}</ul></div>` : nothing}`;
  }

  none() {
    const {kind, outcome: ended, machine} = this.wanted;
    return kind || ended || machine
      ? html`<rp-empty .why=${"No job is like that."} .advice=${html`<a href="/jobs">Show all jobs</a>`}></rp-empty>`
      : html`<rp-empty .why=${"Nothing has run yet for this vault."}
          .advice=${html`Backups, checks, prunes and repairs of all machines appear here, and restores on this machine.`}></rp-empty>`;
  }

  full() {
    const one = this.one;
    return html`<p><a href="/jobs">All jobs</a></p>${this.trouble()}${one ? this.detail(one) : this.problem
      ? html`<h1 tabindex="-1">Job</h1>` : html`<h1 tabindex="-1">Job</h1>${this.loading("Reading the job…")}`}`;
  }

  /** @param {any} one */
  detail(one) {
    const job = one.job;
    const facts = /** @type {[string, unknown][]} */ ([
      ["Outcome", outcome(job.outcome)],
      ["Machine", html`${shown(job.machine_name)}${one.hostname && one.hostname !== job.machine_name ? html` (${shown(one.hostname)})` : nothing}`],
      ["Item", job.item_name ? shown(job.item_name) : null],
      ["Began", html`${when(job.started, true)}, ${age(job.started)}`],
      ["Took", job.finished ? took(job) : null],
      ["Recovery point", one.point ? points(one.point) : null],
      ["Target", one.target ? shown(one.target) : null],
      ["Files", html`${number(job.files)}, ${size(job.bytes)}`],
      ...Object.entries(one.facts).map(([name, n]) => [name[0].toUpperCase() + name.slice(1), name.startsWith("bytes") ? size(n) : number(n)]),
      ["Recorded", job.kept === "vault" ? "in the vault" : "on this machine"],
    ]).filter(([, value]) => value !== null);
    return html`<h1 tabindex="-1">${job.kind}${job.item_name ? html` of ${shown(job.item_name)}` : nothing}</h1><div class="stack">
      ${job.error ? html`<div class="notice bad"><p><strong>${shown(job.error)}</strong>${one.error_kind
        ? html` <span class="badge">${one.error_kind}</span>` : nothing}</p></div>` : nothing}
      <dl class="facts">${facts.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
      <section aria-labelledby="warnings"><h2 id="warnings">Warnings</h2>${one.problems.length
        ? html`<ul class="wrap">${one.problems.map((/** @type {any} */ row) => html`<li>${row.path ? html`${shown(row.path)}: ` : nothing}${shown(row.reason)}</li>`)}</ul>
          ${one.problem_count > one.problems.length ? html`<p>and ${number(one.problem_count - one.problems.length)} more, of which only the number was recorded</p>` : nothing}`
        : html`<p>${one.problem_count ? `${count(one.problem_count, "warning")}, of which only the number was recorded` : "None: every file was taken as it is."}</p>`}</section>
      ${one.log ? html`<section aria-labelledby="log"><h2 id="log">Log</h2>${one.log.length ? html`<pre class="view" tabindex="0">${one.log.join("\n")}</pre>`
        : html`<p>It logged nothing.</p>`}</section>` : nothing}</div>`;
  }
}

/** @param {any} job */
function took(job) {
  if (job.seconds === null) return job.running ? "running" : "";
  return job.seconds < 60 ? `${Math.round(job.seconds)} s` : span(job.seconds);
}

/** Links to points. @param {string} ids */
const points = (ids) => ids.split(", ").map((id) => html`<a href="/point/${id}">${id.slice(0, 8)}</a> `);

customElements.define("rp-jobs", Jobs);
