// All versions of one path: a row for each content, with the points that have it. Two of them can be compared.
import {html, nothing, repeat} from "../vendor/lit.js";
import {get} from "../api.js";
import {download, usual} from "../download.js";
import {plainKey} from "../keys.js";
import {note, say, to} from "../page.js";
import {count, kind, plain, shown, size, when} from "../text.js";
import {textOf} from "./places.js";
import {Screen, rowKeys} from "./screen.js";
import "./text_diff.js";

class Versions extends Screen {
  static properties = {answer: {state: true}, ticked: {state: true}, compared: {state: true}};

  constructor() {
    super();
    /** @type {any} */
    this.answer = null;
    /** First points of the versions that are ticked, at most two. @type {string[]} */
    this.ticked = [];
    /** @type {{before: string, after: string} | null} */
    this.compared = null;
    this.onKey = (/** @type {KeyboardEvent} */ event) => this.keys(event);
  }

  connectedCallback() {
    super.connectedCallback();
    document.addEventListener("keydown", this.onKey);
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    document.removeEventListener("keydown", this.onKey);
  }

  get place() {
    const [machine, item, at] = this.url.pathname.split("/").slice(2);
    return {machine, item, at};
  }

  get name() {
    return `Versions of ${plain(textOf(this.place.at ?? ""))}`;
  }

  async load() {
    const fresh = this.token();
    this.answer = null;
    this.ticked = [];
    this.compared = null;
    const answer = await get("/versions", {...this.place, points: this.url.searchParams.get("points")});
    if (!fresh()) return;
    this.answer = answer;
    const before = this.url.searchParams.get("before");
    const after = this.url.searchParams.get("after");
    if (before && after) {
      this.ticked = [before, after];
      this.compared = {before, after};
    }
    say(count(answer.rows.length, "version", "versions"));
  }

  /** Newest first, as the list shows them. @returns {any[]} */
  get rows() {
    return this.answer ? [...this.answer.rows].sort((a, b) => (a.from < b.from ? 1 : a.from > b.from ? -1 : 0)) : [];
  }

  /** `[` goes to the version before, `]` to the one after. @param {KeyboardEvent} event */
  keys(event) {
    const key = plainKey(event);
    if (key !== "[" && key !== "]") return;
    const rows = [...this.querySelectorAll("[data-row]")];
    if (!rows.length) return;
    const here = rows.findIndex((row) => row.contains(document.activeElement));
    const next = here < 0 ? 0 : key === "[" ? here + 1 : here - 1;
    const row = rows[Math.max(0, Math.min(rows.length - 1, next))];
    /** @type {HTMLElement | null} */ (row.querySelector("[data-first]"))?.focus();
    event.preventDefault();
    event.stopPropagation();
  }

  /** @param {any} row @param {boolean} on */
  tick(row, on) {
    const others = this.ticked.filter((point) => point !== row.point);
    this.ticked = on ? [...others, row.point].slice(-2) : others;
    if (on && others.length === 2) say("Two versions at most: the first one was unticked.");
  }

  compare() {
    const order = this.rows.map((row) => row.point);
    const [before, after] = [...this.ticked].sort((a, b) => order.indexOf(b) - order.indexOf(a));
    this.compared = {before, after};
    note({before, after});
    this.focusOn("#compared");
  }

  render() {
    const path = this.answer?.path ?? textOf(this.place.at ?? "");
    return html`
      <h1 tabindex="-1">Versions of ${shown(path, this.answer?.name_bytes)}</h1>
      ${this.trouble()}
      ${this.answer ? this.list() : this.problem ? nothing : this.loading("Comparing the points…")}
      ${this.comparison()}
    `;
  }

  list() {
    const {points_total: total, older, missing, left_out: left = 0, problems = []} = this.answer;
    const rows = this.rows;
    const all = html`<a href="?points=${total}">Compare all ${count(total, "point", "points")}</a>`;
    if (!rows.length) {
      return html`<rp-empty .why=${total ? `None of the ${older ? `newest ${(total - older).toLocaleString("en")} of the `
        : ""}${count(total, "point", "points")} of this item has this path.` : "This item has no recovery point."}
        .advice=${older ? all : nothing}></rp-empty>`;
    }
    return html`
      <p class="muted">
        ${count(rows.length, "version", "versions")} in ${older ? html`the newest ${(total - older).toLocaleString("en")} of
          ` : nothing}${count(total, "point", "points")}${missing
          ? html`; ${count(missing, "point doesn't have it", "points don't have it")}` : nothing}${left
          ? html`; ${count(left, "older version is", "older versions are")} not listed` : nothing}.
        ${older ? html`${all}; that takes a while.` : nothing}
        <span class="keys">[ goes to the version before, ] to the one after, p preview, d download, r restore.</span>
      </p>
      ${problems.length ? html`<details><summary>! ${count(problems.length, "point")} could not be read</summary>
        <ul class="problems">${problems.map((/** @type {string} */ problem) => html`<li>${shown(problem)}</li>`)}</ul></details>` : nothing}
      <ol class="rows versions" @keydown=${rowKeys}>
        ${repeat(rows, (row) => row.point, (row) => this.row(row))}
      </ol>
      <p class="toolbar">
        <button class="button" type="button" aria-disabled=${this.ticked.length !== 2} @click=${this.compare}>Compare the two that are ticked</button>
        ${this.ticked.length === 2 ? nothing : html`<span class="muted">Tick two versions to compare them.</span>`}
      </p>`;
  }

  /** @param {any} row */
  row(row) {
    const {at} = this.place;
    const ticked = this.ticked.includes(row.point);
    const last = row.last_point ?? row.point;
    const span = row.from === row.to ? when(row.from) : html`${when(row.from)} – ${when(row.to)}`;
    return html`
      <li data-row data-point=${row.point}>
        <input type="checkbox" data-key="space" aria-label="Compare the version of ${when(row.from)}" .checked=${ticked}
          @change=${(/** @type {any} */ event) => this.tick(row, event.target.checked)}>
        <a data-first class="main" href=${to.folder(last, at)}>${span}</a>
        <p class="muted">
          ${row.kind === "file" ? size(row.size) : kind(row.kind)}${row.time ? html`, changed ${when(row.time)}` : nothing};
          in ${count(row.points, "point", "points")}
        </p>
        <p class="actions">
          ${row.kind === "file" ? html`<a data-key="p" href=${to.preview(last, at)}>Preview</a>` : nothing}
          ${row.kind === "file" || row.kind === "folder" ? html`<button class="button" type="button" data-key="d"
            @click=${() => this.act(() => download(last, at, usual(row.kind)))}>Download</button>` : nothing}
          <a data-key="r" href=${to.restore(last, at)}>Restore this one</a>
        </p>
      </li>
      ${row.gap_before ? html`<li class="gap">Points without this path</li>` : nothing}`;
  }

  comparison() {
    if (!this.compared) return nothing;
    const {before, after} = this.compared;
    const time = (/** @type {string} */ point) => {
      const row = this.rows.find((each) => each.point === point || each.last_point === point);
      return row ? when(row.from) : point.slice(0, 8);
    };
    return html`
      <section aria-labelledby="compared">
        <h2 id="compared" tabindex="-1">From ${time(before)} to ${time(after)}</h2>
        <rp-text-diff .older=${before} .newer=${after} .at=${this.place.at}></rp-text-diff>
      </section>`;
  }
}

customElements.define("rp-versions", Versions);
