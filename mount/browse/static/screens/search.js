// Search: the form, and a search at its own address. Hits come while the server looks, and stay when the page is left.
import {html, nothing} from "../vendor/lit.js";
import {del, get, post} from "../api.js";
import {go, say} from "../page.js";
import {ROOT, count, plain, shown, when} from "../text.js";
import "./search_hits.js";
import {path64Of, textOf, tidy} from "./places.js";
import {Screen, bar} from "./screen.js";

const PAGE = 500; // hits a question

/** @type {Record<string, string>} */
const STATES = {
  running: "Searching",
  done: "Finished",
  cancelled: "Cancelled: the list holds what was found until then",
  failed: "Failed: the list holds what was found until then",
};

class Search extends Screen {
  static properties = {
    machines: {state: true},
    recent: {state: true},
    search: {state: true},
    hits: {state: true},
    point: {state: true},
  };

  constructor() {
    super();
    /** @type {any[]} */
    this.machines = [];
    /** @type {any[] | null} */
    this.recent = null;
    /** The last answer about this search. @type {any} */
    this.search = null;
    /** @type {any[]} */
    this.hits = [];
    /** The point that the form may be limited to. @type {any} */
    this.point = null;
    this.sent = false;
  }

  get key() {
    return this.url.pathname.split("/")[2] || null;
  }

  /** @param {any} event */
  concerns(event) {
    return event?.type === "search" && event.id === this.key;
  }

  get name() {
    return this.search ? `Search for ${plain(this.search.text)}` : "Search";
  }

  async load() {
    const fresh = this.token();
    const id = this.key;
    this.search = null;
    this.hits = [];
    this.recent = null;
    const names = get("/machines").catch(() => ({machines: []}));
    if (!id) this.focusOn("#search-text"); // at once: who types meanwhile must not lose it
    if (id) {
      await this.fetch(id, fresh);
    } else {
      const [answer, point] = await Promise.all([
        get("/searches"),
        this.param("point") ? get(`/points/${this.param("point")}`) : null,
      ]);
      if (!fresh()) return;
      this.recent = answer.searches;
      this.point = point;
    }
    const {machines} = await names;
    if (!fresh()) return;
    this.machines = machines;
    if (id && this.sent) this.focusOn("h1", null); // the form is gone, and the focus with it
    this.sent = false;
    if (id && this.search?.state === "running") this.follow(() => this.fetch(id, fresh));
  }

  /**
   * Asks for the state and for hits that aren't here yet. At the end, those come again that had not been counted in all
   * points. Returns whether it still runs. @param {string} id @param {() => boolean} fresh
   */
  async fetch(id, fresh) {
    const before = this.hits.length;
    await this.hitsFrom(id, before, fresh);
    if (!fresh()) return false;
    const running = this.search.state === "running";
    const uncounted = running ? -1 : this.hits.findIndex((hit) => !hit.counted);
    if (uncounted >= 0) await this.hitsFrom(id, uncounted, fresh);
    if (fresh() && (this.hits.length !== before || !running)) say(`${this.found()}. ${STATES[this.search.state]}.`);
    return running;
  }

  /** @param {string} id @param {number} after @param {() => boolean} fresh */
  async hitsFrom(id, after, fresh) {
    for (let next = after; ; ) {
      const answer = await get(`/searches/${id}`, {after: next, count: PAGE});
      if (!fresh()) return;
      const hits = this.hits.slice();
      hits.splice(next, answer.hits.length, ...answer.hits);
      next += answer.hits.length;
      if (answer.hits.length) this.hits = hits;
      this.search = answer;
      if (!answer.hits.length || next >= (answer.kept ?? answer.total)) return;
    }
  }

  found() {
    const total = Math.max(this.search?.total ?? 0, this.hits.length);
    if (!total) return this.search?.state === "running" ? "Nothing found so far" : "Nothing found";
    return count(total, "hit") + (total > this.hits.length ? `, of which the first ${this.hits.length.toLocaleString("en")} are kept` : "");
  }

  /** @param {string} name */
  param(name) {
    return this.url.searchParams.get(name);
  }

  /** @param {SubmitEvent} event */
  submit(event) {
    event.preventDefault();
    const data = new FormData(/** @type {HTMLFormElement} */ (event.target));
    const [kind, id, item] = String(data.get("scope")).split("/");
    const folder = tidy(`/${data.get("below")}`);
    // A path that came in the address may have bytes that aren't text: they are kept unless the text was changed.
    const given = this.known().below;
    const below = folder === "/" ? null : given && textOf(given) === folder ? given : path64Of(folder);
    const fresh = this.token();
    this.act(async () => {
      const answer = await post("/searches", {
        text: String(data.get("text")),
        regex: data.get("how") === "regex",
        ignore_case: data.has("ignore_case"),
        point: kind === "point" ? id : null,
        machine: kind === "machine" || kind === "item" ? id : null,
        item: kind === "item" ? item : null,
        below,
      });
      if (!fresh()) return; // it is among the recent ones
      this.sent = true;
      go(`/search/${answer.id}`);
    });
  }

  cancel() {
    const id = String(this.key);
    const from = document.activeElement;
    const fresh = this.token();
    this.act(async () => {
      await del(`/searches/${id}`);
      await this.fetch(id, fresh);
      this.focusOn("h1", from);
    });
  }

  /** What the form begins with: this search, or the address. */
  known() {
    if (this.search) {
      const {text, regex, ignore_case, scope} = this.search;
      return {text, regex, ignore_case, ...scope};
    }
    const given = this.url.searchParams;
    return {
      text: given.get("text") ?? "",
      regex: false,
      ignore_case: true,
      point: given.get("point"),
      machine: given.get("machine"),
      item: given.get("item"),
      below: given.get("below"),
    };
  }

  render() {
    return html`
      <h1 tabindex="-1">${this.search ? html`Search for <code>${shown(this.search.text)}</code>` : "Search"}</h1>
      ${this.key && this.search ? html`${this.status()}${this.trouble()}${this.results()}
        <details><summary>Search again, or otherwise</summary>${this.form()}</details>`
        : html`${this.trouble()}${this.key && !this.problem ? this.loading("Opening the search…") : this.form()}
          ${this.key ? nothing : this.earlier()}`}
    `;
  }

  form() {
    const known = this.known();
    const point = known.point ? {id: known.point, ...(this.point ?? {})} : null;
    // From a folder, all points of its item are meant first: who searches seldom knows the day.
    const chosen = known.item ? `item/${known.machine}/${known.item}` : known.point ? `point/${known.point}`
      : known.machine ? `machine/${known.machine}` : "all";
    return html`
      <form class="search-form" @submit=${this.submit}>
        <label class="field">
          <span>Name, or part of a path</span>
          <input id="search-text" name="text" type="search" required maxlength="1000" autocomplete="off"
            autocapitalize="off" spellcheck="false" .value=${known.text} aria-describedby="search-hint">
        </label>
        <p class="muted" id="search-hint">
          <code>report.txt</code> is a whole name, <code>*.txt</code> has wildcards, <code>docs/**/*.txt</code> is the end of a path.
        </p>
        <fieldset class="inline">
          <legend>How it is meant</legend>
          <label><input type="radio" name="how" value="glob" ?checked=${!known.regex}> Wildcards</label>
          <label><input type="radio" name="how" value="regex" ?checked=${known.regex}> Regular expression</label>
          <label><input type="checkbox" name="ignore_case" ?checked=${known.ignore_case}> Ignore case</label>
        </fieldset>
        <label class="field">
          <span>Where</span>
          <select name="scope">
            ${point ? html`<option value="point/${point.id}" ?selected=${chosen === `point/${point.id}`}>
              This point${point.time ? html`, ${when(point.time)}` : nothing}</option>` : nothing}
            <option value="all" ?selected=${chosen === "all"}>All points of the vault</option>
            ${this.machines.map((machine) => html`
              <option value="machine/${machine.id}" ?selected=${chosen === `machine/${machine.id}`}>
                All points of ${machine.name}</option>
              ${machine.items.map((/** @type {any} */ item) => html`
                <option value="item/${machine.id}/${item.id}" ?selected=${chosen === `item/${machine.id}/${item.id}`}>
                  All points of ${machine.name}: ${item.name}</option>`)}`)}
          </select>
        </label>
        <label class="field">
          <span>Only below this folder</span>
          <input name="below" autocomplete="off" spellcheck="false" placeholder="/"
            .value=${known.below && known.below !== ROOT ? textOf(known.below) : ""}>
        </label>
        <button class="button primary">Search</button>
      </form>`;
  }

  earlier() {
    if (!this.recent) return nothing;
    return html`
      <section aria-labelledby="recent">
        <h2 id="recent">Recent searches</h2>
        ${this.recent.length ? html`
          <ul class="rows">
            ${this.recent.map((each) => html`<li>
              <a class="main" href="/search/${each.id}">${shown(each.text)}</a>
              <span class="muted">${STATES[each.state]?.split(":")[0]}, ${count(each.total, "hit", "hits")}</span>
            </li>`)}
          </ul>` : html`<rp-empty .why=${"No search was made since rpdrive browse started."}></rp-empty>`}
      </section>`;
  }

  status() {
    const {state, queued, progress, error, problems = [], problem_count: wrong = 0} = this.search;
    const running = state === "running";
    const points = progress?.points_total ? html`, ${progress.points.toLocaleString("en")} of
      ${count(progress.points_total, "point", "points")}` : nothing;
    return html`
      <div class="status-line" data-state=${state}>
        <p><strong>${queued && running ? "Waiting for other searches to end" : STATES[state] ?? state}</strong>: ${this.found()}${points}${progress?.entries
          ? html`, ${count(progress.entries, "entry", "entries")} read` : nothing}</p>
        ${running ? html`
          ${bar(progress?.fraction, "Progress of the search")}
          <button class="button" type="button" @click=${this.cancel}>Cancel</button>` : nothing}
        ${error ? html`<rp-error .error=${typeof error === "string" ? {kind: "", message: error, advice: ""} : error}
          .final=${true}></rp-error>` : nothing}
        ${wrong ? html`<details><summary>! ${count(wrong, "place")} could not be read: hits may be missing</summary>
          <ul class="problems">${problems.map((/** @type {string} */ problem) => html`<li>${shown(problem)}</li>`)}</ul></details>` : nothing}
        <p class="muted">${this.where()} You can leave this page: the search stays at its address.</p>
      </div>`;
  }

  where() {
    const {point, machine, item, below} = this.search.scope ?? {};
    const owner = this.machines.find((each) => each.id === machine);
    const name = owner?.items.find((/** @type {any} */ each) => each.id === item)?.name;
    const points = point ? "One recovery point" : name ? `All points of ${owner.name}: ${name}`
      : owner ? `All points of ${owner.name}` : "All points of the vault";
    return `${points}${below && below !== ROOT ? `, below ${textOf(below)}` : ""}.`;
  }

  results() {
    if (this.hits.length) return html`<rp-search-hits .hits=${this.hits}></rp-search-hits>`;
    if (this.search.state === "running") return html`<p class="muted">Hits appear here as they are found.</p>`;
    return html`<rp-empty .why=${this.whyNothing()}></rp-empty>`;
  }

  whyNothing() {
    const {text, regex, state, progress} = this.search;
    if (state !== "done") return "Nothing was found before the search ended.";
    if (progress && progress.points_total === 0) return "There is no recovery point to search in.";
    const plain = !regex && !/[*?[]/.test(text);
    return `No name in these points matches ${text}.${plain ? ` It has to be the whole name: try *${text}*` : ""}`;
  }
}

customElements.define("rp-search", Search);
