// Calendar: one cell a day with the number of points and the worst outcome, a strip of the year, and the day's points.
import {html, nothing, repeat} from "../vendor/lit.js";
import {get} from "../api.js";
import {note, say, to} from "../page.js";
import {count, shown, size} from "../text.js";
import * as dates from "./dates.js";
import {calendarPage, comparePage} from "./places.js";
import {Screen, rowKeys} from "./screen.js";

/** @type {Record<string, [string, string]>} */
const OUTCOMES = {
  good: ["✓", "good"],
  problems: ["!", "problems"],
  failed: ["✗", "failed"],
  none: ["–", "no backup"],
  unknown: ["•", "outcome not known here"],
};
const WEEKDAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const DETAILS = 40; // points of a day whose records are read; the others are names until asked for

class Calendar extends Screen {
  static properties = {
    machines: {state: true},
    at: {state: true},
    points: {state: true},
    details: {state: true},
    years: {state: true},
    chosen: {state: true},
    detailed: {state: true},
  };

  constructor() {
    super();
    /** @type {any[] | null} */
    this.machines = null;
    /** The day of the cursor; the month shown is its month. */
    this.at = dates.today();
    /** The day whose points are listed. @type {string | null} */
    this.chosen = null;
    /** @type {any[] | null} */
    this.points = null;
    /** Records by id: PointInfo, or the error. @type {Map<string, any>} */
    this.details = new Map();
    this.detailed = DETAILS;
    /** Answers by year. @type {Map<number, any>} */
    this.years = new Map();
    /** First and last point of the scope. @type {{first: string | null, last: string | null}} */
    this.span = {first: null, last: null};
    this.scope = "";
  }

  get machine() {
    return this.url.searchParams.get("machine");
  }

  get item() {
    return this.url.searchParams.get("item");
  }

  get name() {
    return "Calendar";
  }

  async load() {
    const fresh = this.token();
    const scope = `${this.machine} ${this.item}`;
    if (scope !== this.scope) {
      this.scope = scope;
      this.years = new Map();
      this.points = null;
    }
    const wanted = this.url.searchParams.get("day");
    const year = Number(this.url.searchParams.get("year"));
    if (!this.machines) {
      const answer = await get("/machines");
      if (!fresh()) return;
      this.machines = answer.machines;
    }
    let shown = await this.year(dates.isDay(wanted) ? Number(wanted?.slice(0, 4)) : year || null);
    if (!fresh() || !shown) return;
    const final = this.span.last?.slice(0, 10) ?? dates.today();
    if (!dates.isDay(wanted) && !year) shown = await this.year(Number(final.slice(0, 4)));
    if (!fresh() || !shown) return;
    const last = shown.days.findLast((/** @type {any} */ day) => day.points)?.date;
    this.at = dates.isDay(wanted) ? /** @type {string} */ (wanted) : last ?? final;
    await this.choose(this.at, {focus: false});
  }

  /** The days of a year, asked for once. @param {number | null} year null: the year of the last point */
  async year(year) {
    if (year !== null && this.years.has(year)) return this.years.get(year);
    const fresh = this.token();
    const answer = await get("/calendar", {machine: this.machine, item: this.item, year});
    if (!fresh()) return null;
    this.span = {first: answer.first, last: answer.last};
    this.years = new Map(this.years).set(answer.year, answer);
    return answer;
  }

  /** @param {string} day */
  day(day) {
    const year = this.years.get(Number(day.slice(0, 4)));
    const {points = 0, outcome = "none"} = year?.days.find((/** @type {any} */ each) => each.date === day) ?? {};
    // Backups of other machines leave points, but only their own histories say how they ended.
    return {points, outcome: points && outcome === "none" ? "unknown" : outcome};
  }

  /** Moves the cursor; reads a year that isn't here yet. @param {string} day */
  async move(day) {
    this.at = day;
    this.focusOn('[role=gridcell][tabindex="0"]');
    await this.act(() => this.year(Number(day.slice(0, 4))));
    const {points, outcome} = this.day(day);
    say(`${dates.longDay(day)}: ${describe(points, outcome)}`);
  }

  /** Lists a day's points, and puts the day into the address. @param {string} day @param {{focus: boolean}} options */
  async choose(day, {focus}) {
    const from = document.activeElement;
    this.at = day;
    this.chosen = day;
    this.points = null;
    this.details = new Map();
    this.detailed = DETAILS;
    note({day, year: null});
    const fresh = this.token();
    const points = [];
    for (let cursor = null; ; ) {
      const answer = await get("/points", {
        machine: this.machine, item: this.item, from: day, to: day, cursor, count: 500,
      });
      if (!fresh() || this.chosen !== day) return;
      points.push(...answer.points);
      cursor = answer.next;
      if (!cursor) break;
    }
    this.points = points;
    say(`${count(points.length, "recovery point", "recovery points")} on ${dates.longDay(day)}`);
    if (focus) this.focusOn(points.length ? "#day-points [data-first]" : "#day-points h2", from);
    await this.read(day);
  }

  /** Reads the records of the points that are listed, a few at a time. @param {string} day */
  async read(day) {
    const left = (this.points ?? []).slice(0, this.detailed).filter((point) => !this.details.has(point.id));
    const worker = async () => {
      for (let point = left.shift(); point && this.chosen === day; point = left.shift()) {
        const id = point.id;
        const info = await get(`/points/${id}`).catch((error) => ({error}));
        if (this.chosen === day) this.details = new Map(this.details).set(id, info);
      }
    };
    await Promise.all([worker(), worker(), worker()]);
  }

  more() {
    this.focusOn(`#day-points li:nth-child(${this.detailed + 1}) [data-first]`);
    this.detailed += DETAILS;
    this.read(String(this.chosen));
  }

  /** @param {KeyboardEvent} event */
  keys(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const week = dates.weekday(this.at);
    /** @type {Record<string, () => string>} */
    const moves = {
      ArrowLeft: () => dates.addDays(this.at, -1),
      ArrowRight: () => dates.addDays(this.at, 1),
      ArrowUp: () => dates.addDays(this.at, -7),
      ArrowDown: () => dates.addDays(this.at, 7),
      Home: () => dates.addDays(this.at, -week),
      End: () => dates.addDays(this.at, 6 - week),
      PageUp: () => dates.addMonths(this.at, event.shiftKey ? -12 : -1),
      PageDown: () => dates.addMonths(this.at, event.shiftKey ? 12 : 1),
    };
    if (moves[event.key]) {
      event.preventDefault();
      this.move(moves[event.key]());
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.act(() => this.choose(this.at, {focus: true}));
    }
  }

  /** @param {Event} event */
  rescope(event) {
    const [machine, item] = /** @type {HTMLSelectElement} */ (event.target).value.split("/");
    this.url = new URL(calendarPage({machine, item}), location.origin);
    note({machine, item, day: null, year: null});
  }

  render() {
    return html`
      <h1 tabindex="-1">Calendar</h1>
      ${this.chooser()} ${this.trouble()}
      ${this.years.size ? html`${this.strip()}${this.month()}${this.dayPoints()}`
        : this.problem ? nothing : this.loading("Reading the names of the recovery points…")}
    `;
  }

  chooser() {
    const chosen = `${this.machine ?? ""}/${this.item ?? ""}`;
    return html`
      <label class="field">
        <span>Machine and item</span>
        <select @change=${this.rescope}>
          <option value="/" ?selected=${chosen === "/"}>All machines and items</option>
          ${(this.machines ?? []).map((machine) => html`
            <option value="${machine.id}/" ?selected=${chosen === `${machine.id}/`}>
              ${machine.name}, all items${machine.forgotten ? " (forgotten)" : ""}
            </option>
            ${machine.items.map((/** @type {any} */ item) => html`
              <option value="${machine.id}/${item.id}" ?selected=${chosen === `${machine.id}/${item.id}`}>
                ${machine.name}: ${item.name}${item.points === null ? "" : ` (${count(item.points, "point", "points")})`}
              </option>`)}`)}
        </select>
      </label>`;
  }

  strip() {
    const year = Number(this.at.slice(0, 4));
    const first = Number((this.span.first ?? this.at).slice(0, 4));
    const last = Number((this.span.last ?? this.at).slice(0, 4));
    const totals = Array(12).fill(0);
    for (const day of this.years.get(year)?.days ?? []) totals[Number(day.date.slice(5, 7)) - 1] += day.points;
    const most = Math.max(1, ...totals);
    const month = Number(this.at.slice(5, 7)) - 1;
    return html`
      <nav class="year-strip" aria-label="Months of ${year}">
        <button class="button" type="button" aria-label="Year ${year - 1}" aria-disabled=${year <= first}
          @click=${() => this.move(dates.addMonths(this.at, -12))}>‹</button>
        <strong>${year}</strong>
        <button class="button" type="button" aria-label="Year ${year + 1}" aria-disabled=${year >= last}
          @click=${() => this.move(dates.addMonths(this.at, 12))}>›</button>
        <ol class="months">
          ${totals.map((points, index) => {
            const name = `${year}-${String(index + 1).padStart(2, "0")}`;
            return html`<li>
              <button class="button" type="button" aria-current=${index === month ? "true" : "false"}
                @click=${() => this.move(dates.addMonths(this.at, index - month))}>
                ${dates.shortMonth(name)}<span class="visually-hidden"> ${year}: ${count(points, "point", "points")}</span>
                <meter aria-hidden="true" min="0" max=${most} .value=${points}></meter>
              </button>
            </li>`;
          })}
        </ol>
      </nav>`;
  }

  month() {
    const month = this.at.slice(0, 7);
    return html`
      <div class="month">
        <div class="toolbar">
          <button class="button" type="button" aria-label="Month before" @click=${() => this.move(dates.addMonths(this.at, -1))}>‹</button>
          <h2 id="month-name">${dates.longMonth(month)}</h2>
          <button class="button" type="button" aria-label="Month after" @click=${() => this.move(dates.addMonths(this.at, 1))}>›</button>
        </div>
        <table role="grid" class="calendar" aria-labelledby="month-name" aria-describedby="calendar-keys"
          @keydown=${this.keys}>
          <thead>
            <tr>
              ${WEEKDAYS.map((name) => html`<th scope="col" role="columnheader" abbr=${name}>
                <span aria-hidden="true">${name.slice(0, 2)}</span><span class="visually-hidden">${name}</span></th>`)}
            </tr>
          </thead>
          <tbody>
            ${dates.weeks(month).map((week) => html`<tr>${week.map((day) => this.cell(day))}</tr>`)}
          </tbody>
        </table>
        <p class="legend muted" aria-hidden="true">
          ${Object.values(OUTCOMES).map(([sign, word]) => html`<span><b>${sign}</b> ${word}</span> `)}
        </p>
        <p class="muted keys" id="calendar-keys">
          Arrows move by a day, PgUp and PgDn by a month, Enter lists the day's points.
        </p>
      </div>`;
  }

  /** @param {string | null} day */
  cell(day) {
    if (!day) return html`<td role="gridcell" class="other"></td>`;
    const {points, outcome} = this.day(day);
    const [sign, word] = OUTCOMES[outcome] ?? OUTCOMES.none;
    const empty = !points && outcome === "none";
    return html`
      <td role="gridcell" class="day outcome-${outcome}" data-day=${day}
        tabindex=${day === this.at ? 0 : -1}
        aria-selected=${day === this.chosen ? "true" : "false"}
        @click=${() => this.act(() => this.choose(day, {focus: false}))}>
        <span class="visually-hidden">${dates.longDay(day)}: ${describe(points, outcome)}</span>
        <span class="number" aria-hidden="true">${Number(day.slice(8))}</span>
        ${empty ? nothing : html`<span class="sign" aria-hidden="true">${sign} ${points || ""}</span>
          <span class="word" aria-hidden="true">${word}</span>`}
      </td>`;
  }

  dayPoints() {
    if (!this.chosen) return nothing;
    const day = this.chosen;
    const {outcome} = this.day(day);
    return html`
      <section id="day-points" aria-labelledby="day-name">
        <h2 id="day-name" tabindex="-1">${dates.longDay(day)}</h2>
        ${this.points === null ? (this.problem ? nothing : this.loading("Looking for the day's points…"))
          : this.points.length ? this.list()
          : html`<rp-empty .why=${this.why(outcome)}></rp-empty>`}
      </section>`;
  }

  /** Why a day is empty. @param {string} outcome */
  why(outcome) {
    const {first, last} = this.span;
    const day = String(this.chosen);
    if (!first || !last) {
      return this.machine ? "This machine or item has no recovery point yet: no backup of it has ended."
        : "The vault has no recovery point yet: no backup has ended.";
    }
    if (outcome === "failed") return "No recovery point was made on this day: the backup failed. Its job says why.";
    if (day < first.slice(0, 10)) return `The first recovery point is of ${dates.longDay(first.slice(0, 10))}.`;
    if (day > last.slice(0, 10)) return `The last recovery point is of ${dates.longDay(last.slice(0, 10))}.`;
    return "No recovery point of this day is left: no backup ended on it, or its points were removed by the policy.";
  }

  list() {
    const points = this.points ?? [];
    const one = Boolean(this.item);
    return html`
      <ul class="rows" @keydown=${rowKeys}>
        ${repeat(points.slice(0, this.detailed), (point) => point.id, (point) => this.row(point, one))}
      </ul>
      ${points.length > this.detailed ? html`
        <button class="button" type="button" @click=${this.more}>
          Show ${count(Math.min(DETAILS, points.length - this.detailed), "more point", "more points")}
        </button>` : nothing}`;
  }

  /** @param {any} point @param {boolean} one whether all points are of one item */
  row(point, one) {
    const info = this.details.get(point.id);
    const item = this.nameOf(point);
    return html`
      <li data-row>
        <a data-first class="main" href=${to.folder(point.id)}>
          ${dates.clock(point.time)} <span class="muted">${dates.zone(point.time)}</span>
          ${one ? nothing : html` ${shown(item)}`}
        </a>
        <p class="muted">
          ${info === undefined ? "reading…" : info.error ? html`✗ ${info.error.message}`
            : html`${count(info.files, "file", "files")}, ${size(info.bytes)}, ${size(info.new_bytes)} new,
              ${info.warnings ? html`<strong>! ${count(info.warnings, "warning", "warnings")}</strong>` : "✓ no warnings"}
              ${info.damaged ? html`<strong>✗ ${count(info.damaged, "damaged file", "damaged files")}</strong>` : nothing}
              ${info.forgotten_until ? html`<strong>forgotten</strong>` : nothing}`}
        </p>
        <p class="actions">
          ${info?.previous ? html`<a href=${comparePage(info.previous, point.id)}>Compare with the one before</a>` : nothing}
          <a data-key="r" href=${to.restore(point.id, "Lw")}>Restore</a>
        </p>
      </li>`;
  }

  /** @param {any} point */
  nameOf(point) {
    const machine = this.machines?.find((each) => each.id === point.machine);
    const item = machine?.items.find((/** @type {any} */ each) => each.id === point.item);
    return `${machine?.name ?? "unknown machine"}: ${item?.name ?? "unknown item"}`;
  }
}

/** @param {number} points @param {string} outcome */
function describe(points, outcome) {
  const word = (OUTCOMES[outcome] ?? OUTCOMES.none)[1];
  return points ? `${count(points, "recovery point", "recovery points")}, ${word}` : word;
}

customElements.define("rp-calendar", Calendar);
