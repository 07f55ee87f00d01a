// Compare two points: what was added, removed and changed, page by page; a change opens its versions or its lines.
import {html, nothing, repeat} from "../vendor/lit.js";
import {get} from "../api.js";
import {go, say, to} from "../page.js";
import {ROOT, count, kind, shown, size, when} from "../text.js";
import {comparePage, textOf} from "./places.js";
import {Screen, bar, rowKeys} from "./screen.js";
import "./text_diff.js";

const PAGE = 200; // changes an answer

/** @type {Record<string, string>} */
const MARKS = {
  "+": "added",
  "-": "removed",
  M: "changed",
  T: "another kind",
  U: "only metadata",
};

class Compare extends Screen {
  static properties = {
    older: {state: true},
    newer: {state: true},
    others: {state: true},
    changes: {state: true},
    next: {state: true},
    state: {state: true},
    open: {state: true},
  };

  constructor() {
    super();
    this.forget();
  }

  forget() {
    /** PointInfo of the two. @type {any} */
    this.older = null;
    /** @type {any} */
    this.newer = null;
    /** Points of the same item, to choose from. @type {any[]} */
    this.others = [];
    /** @type {any[] | null} */
    this.changes = null;
    /** @type {string | null} */
    this.next = null;
    /** The last answer: whether it still runs, how many there are. @type {any} */
    this.state = null;
    /** The path64 whose lines are shown. @type {string | null} */
    this.open = null;
  }

  get at() {
    return this.url.searchParams.get("at") ?? ROOT;
  }

  get name() {
    return "Compare two points";
  }

  async load() {
    const fresh = this.token();
    this.forget();
    const ids = ["before", "after"].map((name) => this.url.searchParams.get(name));
    const [before, after] = await Promise.all(ids.map((id) => (id ? get(`/points/${id}`) : null)));
    if (!fresh()) return;
    this.older = before;
    this.newer = after;
    const some = after ?? before;
    if (!some) return;
    const listing = get("/points", {machine: some.machine, item: some.item, count: 500});
    if (before && after) {
      const running = await this.ask(PAGE);
      if (!fresh()) return;
      say(this.found());
      if (running) this.follow(() => this.ask(PAGE));
    }
    const {points} = await listing;
    if (fresh()) this.others = points;
  }

  /** Asks for changes after those that are here. Returns whether the server is still comparing. @param {number} most */
  async ask(most) {
    const fresh = this.token();
    const wanted = most - (this.changes?.length ?? 0);
    const cursor = this.next ?? this.changes?.length ?? 0;
    const answer = await get("/compare", {
      before: this.older.id, after: this.newer.id, at: this.at, cursor, count: Math.min(Math.max(wanted, 1), PAGE),
    });
    if (!fresh()) return false;
    if (wanted > 0) {
      this.changes = [...this.changes ?? [], ...answer.changes];
      this.next = answer.next;
    }
    this.state = answer;
    return answer.state === "running" || (wanted > answer.changes.length && answer.changes.length > 0 && answer.next !== null);
  }

  /** Shows one page of changes more. */
  async more() {
    const fresh = this.token();
    const first = this.changes?.length ?? 0;
    const from = document.activeElement;
    this.busy = true;
    try {
      await this.ask(first + PAGE);
    } finally {
      this.busy = false;
    }
    if (!fresh()) return;
    say(`${this.found()}`);
    this.focusOn(`[data-row="${first}"] [data-first]`, from);
  }

  found() {
    const total = Math.max(this.state?.total ?? 0, this.changes?.length ?? 0);
    return count(total, "change") + (this.state?.state === "running" ? " so far" : "");
  }

  /** @param {SubmitEvent} event */
  choose(event) {
    event.preventDefault();
    const data = new FormData(/** @type {HTMLFormElement} */ (event.target));
    go(comparePage(String(data.get("before")), String(data.get("after")), this.at === ROOT ? null : this.at));
  }

  render() {
    const below = this.at === ROOT ? nothing : html` below ${shown(textOf(this.at))}`;
    return html`
      <h1 tabindex="-1">Compare two points</h1>
      ${this.trouble()} ${this.chooser()}
      ${this.older && this.newer ? html`
        <p>From <a href=${to.folder(this.older.id, this.at)}>${when(this.older.time)}</a>
          to <a href=${to.folder(this.newer.id, this.at)}>${when(this.newer.time)}</a>${below}.</p>
        ${this.changes ? this.list() : this.problem ? nothing : this.loading("Comparing the folders that differ…")}` : nothing}
    `;
  }

  chooser() {
    if (!this.older && !this.newer) {
      if (this.busy) return this.loading("Reading the two points…");
      return this.problem ? nothing : html`<rp-empty .why=${
        "No points are chosen: open a point, or a day in the calendar, and choose Compare there."}></rp-empty>`;
    }
    const options = (/** @type {any} */ chosen) => {
      const points = this.others.some((point) => point.id === chosen?.id) || !chosen ? this.others : [chosen, ...this.others];
      return points.map((point) => html`<option value=${point.id} ?selected=${point.id === chosen?.id}>${when(point.time, true)}</option>`);
    };
    return html`
      <form class="inline" @submit=${this.choose}>
        <label class="field"><span>Before</span><select name="before">${options(this.older)}</select></label>
        <label class="field"><span>After</span><select name="after">${options(this.newer)}</select></label>
        <button class="button">Compare</button>
      </form>`;
  }

  list() {
    const changes = this.changes ?? [];
    const {state, total, kept, counts, problems = []} = this.state;
    const running = state === "running";
    if (!changes.length && !running && !problems.length) {
      return html`<rp-empty .why=${this.older.id === this.newer.id ? "Both are the same point."
        : "Nothing differs: every file, folder and attribute is the same in both points."}></rp-empty>`;
    }
    return html`
      ${running ? bar(null, "Comparing") : nothing}
      <p class="muted">${counts ? totals(counts) : this.found()}${total > kept ? `; the first ${kept.toLocaleString("en")} are listed` : ""}.</p>
      ${problems.length ? html`<details><summary>! ${count(problems.length, "place")} could not be compared</summary>
        <ul class="problems">${problems.map((/** @type {string} */ problem) => html`<li>${shown(problem)}</li>`)}</ul></details>` : nothing}
      <p class="muted keys">On a row: Enter shows the lines, v versions, r restore.</p>
      <ol class="rows changes" @keydown=${rowKeys}>
        ${repeat(changes, (change) => change.path64, (change, index) => this.row(change, index))}
      </ol>
      ${this.next && changes.length < kept && (!running || changes.length >= PAGE) ? html`<button class="button" type="button" aria-disabled=${this.busy}
        @click=${() => this.act(() => this.more())}>${this.busy ? "Comparing…" : "Show more changes"}</button>` : nothing}`;
  }

  /** @param {any} change @param {number} index */
  row(change, index) {
    const word = MARKS[change.mark] ?? change.mark;
    const {machine, item} = this.newer;
    const lines = change.mark === "M" && change.kind === "file";
    const open = this.open === change.path64;
    const has = change.mark === "+" ? this.newer.id : this.older.id;
    const details = (change.what ?? []).filter((/** @type {string} */ each) => each !== word);
    return html`
      <li data-row=${index} class="change-${word.replaceAll(" ", "-")}">
        <span class="mark"><b aria-hidden="true">${change.mark}</b> ${word}</span>
        ${lines ? html`<button type="button" class="link main" data-first aria-expanded=${open ? "true" : "false"}
            @click=${() => { this.open = open ? null : change.path64; }}>${shown(change.path, change.name_bytes)}</button>`
          : html`<a data-first class="main" href=${to.versions(machine, item, change.path64)}>${
            shown(change.path, change.name_bytes)}</a>`}
        <p class="muted">${kind(change.kind)}${change.size === undefined || change.size === null || change.kind !== "file"
          ? nothing : html`, ${typeof change.before === "number" && change.before !== change.size ? `${size(change.before)} → ` : ""}${size(change.size)}`}${details.length ? html`: ${details.join(", ")}` : nothing}</p>
        <p class="actions">
          <a data-key="v" href=${to.versions(machine, item, change.path64)}>Versions</a>
          <a data-key="r" href=${to.restore(has, change.path64)}>Restore ${change.mark === "+" ? "the new one" : "the old one"}</a>
        </p>
        ${open ? html`<rp-text-diff .older=${this.older.id} .newer=${this.newer.id} .at=${change.path64}></rp-text-diff>` : nothing}
      </li>`;
  }
}

/** @param {Record<string, number>} counts */
function totals(counts) {
  const names = {added: "added", removed: "removed", changed: "changed", type: "of another kind", metadata: "with other metadata only"};
  const parts = Object.entries(names).filter(([name]) => counts[name])
    .map(([name, words]) => `${counts[name].toLocaleString("en")} ${words}${counts[`${name}_bytes`] ? ` (${size(counts[`${name}_bytes`])})` : ""}`);
  return parts.join(", ") || "No changes";
}

customElements.define("rp-compare", Compare);
