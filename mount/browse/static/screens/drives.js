// Drives: open one of a point or of all points, see what is open and how much is read, close them.
import {html, nothing, repeat} from "../vendor/lit.js";
import {del, get, post} from "../api.js";
import {say} from "../page.js";
import {count, shown, size, when} from "../text.js";
import {copyable} from "./copyable.js";
import "./folder_picker.js";
import {Screen} from "./screen.js";

const SECONDS = 3; // between two looks at the traffic
const LOOKS = 200; // without anybody touching the page: then it lets rpdrive browse end by itself

class Drives extends Screen {
  static properties = {
    drives: {state: true},
    refused: {state: true},
    machines: {state: true},
    points: {state: true},
    scope: {state: true},
    own: {state: true},
    place: {state: true},
    made: {state: true},
    asking: {state: true},
    working: {state: true},
  };

  constructor() {
    super();
    /** @type {any[] | null} */
    this.drives = null;
    /** @type {any[]} */
    this.machines = [];
    /** Points of the item that is chosen. @type {any[]} */
    this.points = [];
    this.scope = "all";
    /** Whether rpdrive makes the folder. */
    this.own = true;
    this.place = "";
    /** The drive opened last. @type {any} */
    this.made = null;
    /** The drive that could not be closed at once, or is asked about. @type {string | null} */
    this.asking = null;
    /** Why none can be opened here. @type {string | null} */
    this.refused = null;
    this.looks = 0;
    /** What runs: `open`, or a drive's id. */
    this.working = "";
  }

  /** @param {any} event */
  concerns(event) {
    return event?.type === "drive";
  }

  get name() {
    return "Drives";
  }

  async load() {
    const fresh = this.token();
    const [{drives, refused}, {machines}, given] = await Promise.all([
      get("/drives"), get("/machines"),
      this.url.searchParams.get("point") ? get(`/points/${this.url.searchParams.get("point")}`) : null,
    ]);
    if (!fresh()) return;
    this.drives = drives;
    this.refused = refused;
    this.machines = machines;
    if (given) {
      this.scope = `${given.machine}/${given.item}`;
      this.points = [{id: given.id, time: given.time}];
    }
    this.tick();
  }

  connectedCallback() {
    super.connectedCallback();
    for (const type of ["keydown", "pointerdown"]) this.addEventListener(type, () => (this.looks = 0));
  }

  /** Looks at the traffic while the page is seen. */
  tick() {
    const fresh = this.token();
    clearTimeout(this.waiting);
    const look = async () => {
      if (!fresh()) return;
      if (!document.hidden && this.drives?.length && this.looks++ < LOOKS) await this.refresh().catch(() => undefined);
      if (fresh()) this.waiting = window.setTimeout(look, SECONDS * 1000);
    };
    this.wake = () => {
      clearTimeout(this.waiting);
      look();
    };
    this.waiting = window.setTimeout(look, SECONDS * 1000);
  }

  async refresh() {
    const fresh = this.token();
    const {drives, refused} = await get("/drives");
    if (!fresh()) return;
    this.drives = drives;
    this.refused = refused;
  }

  /** @param {Event} event */
  rescope(event) {
    this.scope = /** @type {HTMLSelectElement} */ (event.target).value;
    this.points = [];
    const [machine, item] = this.scope.split("/");
    const scope = this.scope;
    if (!item) return;
    this.act(async () => {
      const answer = await get("/points", {machine, item, count: 500});
      if (scope === this.scope) this.points = answer.points;
    });
  }

  /** @param {SubmitEvent} event */
  open(event) {
    event.preventDefault();
    if (this.working) return;
    const data = new FormData(/** @type {HTMLFormElement} */ (event.target));
    const [machine, item] = this.scope === "all" ? [null, null] : this.scope.split("/");
    const from = document.activeElement;
    this.working = "open";
    this.act(async () => {
      try {
        this.made = await post("/drives", {
          place: this.own ? null : this.place,
          point: data.get("point") || null,
          machine, item: item || null,
          idle: data.get("idle") || null,
          total: data.get("total") || null,
        });
        await this.refresh();
        say(`The drive is open at ${this.made.place}.`);
        this.focusOn("#made", from);
      } finally {
        this.working = "";
      }
    });
  }

  /** @param {any} drive @param {boolean} lazy */
  close(drive, lazy) {
    this.working = drive.id;
    const from = document.activeElement;
    const fresh = this.token();
    this.problem = null;
    del(`/drives/${drive.id}`, {lazy: lazy ? 1 : 0})
      .then(async () => {
        this.asking = null;
        if (this.made?.id === drive.id) this.made = null;
        await this.refresh();
        say("The drive is closed.");
        this.focusOn("#open-drives", from);
      })
      .catch((error) => {
        if (!fresh()) return;
        this.fail(error, () => this.close(drive, lazy));
        this.asking = drive.id;
        this.focusOn("#lazy", from);
      })
      .finally(() => (this.working = ""));
  }

  render() {
    return html`
      <h1 tabindex="-1">Drives</h1>
      ${this.trouble()}
      ${this.drives ? html`${this.opened()}${this.list(this.drives)}${this.form()}`
        : this.problem ? nothing : this.loading("Asking the open drives…")}
    `;
  }

  opened() {
    if (!this.made) return nothing;
    return html`
      <section class="notice good" aria-labelledby="made">
        <h2 id="made" tabindex="-1">✓ The drive is open</h2>
        ${copyable("Path", this.made.place)}
        ${(this.made.notices ?? []).map((/** @type {string} */ notice) => html`<p>! ${notice}</p>`)}
      </section>`;
  }

  /** @param {any[]} drives */
  list(drives) {
    return html`
      <section aria-labelledby="open-drives">
        <h2 id="open-drives" tabindex="-1">Open drives</h2>
        ${drives.length ? html`<ul class="rows">${repeat(drives, (each) => each.id, (each) => this.row(each))}</ul>`
          : html`<rp-empty .why=${"No drive is open on this machine. A drive shows recovery points as folders, for every program."}></rp-empty>`}
      </section>`;
  }

  /** @param {any} drive */
  row(drive) {
    const limits = [
      typeof drive.idle_left === "number" ? `closes if unused for ${duration(drive.idle_left)}` : "",
      typeof drive.total_left === "number" ? `closes in ${duration(drive.total_left)}` : "",
    ].filter(Boolean);
    const busy = this.working === drive.id;
    const mine = !this.session?.read_only;
    return html`
      <li data-row>
        <b class="main">${shown(drive.place)}</b>
        <p class="muted">
          ${drive.point ? html`The point of ${when(drive.point_time)}` : "All points"}${drive.item
            ? html` of ${drive.machine ? `${drive.machine}: ` : ""}${drive.item}` : drive.machine ? html` of ${drive.machine}` : nothing};
          open since ${when(drive.since)}
        </p>
        <p class="muted">${drive.stale ? html`<strong>! Its process has ended: nothing can be read there any more.</strong>`
          : !drive.answers ? html`<strong>! It does not answer.</strong>` : html`${count(drive.calls ?? 0, "call", "calls")}, ${size(drive.served ?? 0)} read by programs,
            ${size(drive.fetched ?? 0)} fetched from the vault${drive.errors
              ? html`, <strong>! ${count(drive.errors, "error", "errors")}</strong>` : nothing}${limits.length
              ? html`; ${limits.join(", ")}` : nothing}`}${drive.elsewhere ? html`; it is mounted in another container` : nothing}</p>
        ${drive.forgotten_until ? html`<p class="muted">! Its point was forgotten, and stays until ${when(drive.forgotten_until)}.</p>` : nothing}
        ${mine ? html`
          <p class="actions">
            <button class="button" type="button" aria-disabled=${busy} aria-label="Close ${drive.place}" @click=${() => this.close(drive, false)}>
              ${busy ? "Closing…" : "Close"}</button>
            ${this.asking === drive.id ? nothing : html`<button class="button" type="button"
              @click=${() => { this.asking = drive.id; this.focusOn("#lazy"); }}>Close though it is in use…<span
                class="visually-hidden"> ${drive.place}</span></button>`}
          </p>
          ${this.asking === drive.id ? html`
            <div class="notice warning" role="group" aria-label="Close though it is in use">
              <p>The drive disappears from its folder at once. Programs that have files of it open can go on reading them;
                the drive ends when the last one is closed.</p>
              <p class="actions">
                <button type="button" id="lazy" class="button danger" aria-disabled=${busy} @click=${() => this.close(drive, true)}>Close it so</button>
                <button class="button" type="button" @click=${() => { this.asking = null; this.focusOn("#open-drives"); }}>Leave it open</button>
              </p>
            </div>` : nothing}` : nothing}
      </li>`;
  }

  form() {
    if (this.session?.read_only) {
      return html`<p class="muted">This page is read-only: it opens and closes no drives.
        <code>rpdrive mount</code> does at a terminal.</p>`;
    }
    if (this.refused) {
      return html`<p class="muted">No drive can be opened here: ${this.refused}. Everything can be seen and restored on this page
        without one.</p>`;
    }
    const point = this.url.searchParams.get("point");
    return html`
      <section aria-labelledby="open-one">
        <h2 id="open-one">Open a drive</h2>
        <form @submit=${this.open}>
          <label class="field"><span>What it shows</span>
            <select @change=${this.rescope}>
              <option value="all" ?selected=${this.scope === "all"}>All machines</option>
              ${this.machines.map((machine) => html`
                <option value="${machine.id}/" ?selected=${this.scope === `${machine.id}/`}>${machine.name}, all items</option>
                ${machine.items.map((/** @type {any} */ item) => html`
                  <option value="${machine.id}/${item.id}" ?selected=${this.scope === `${machine.id}/${item.id}`}>
                    ${machine.name}: ${item.name}</option>`)}`)}
            </select></label>
          <label class="field"><span>Recovery point</span>
            <select name="point">
              <option value="">All of them, each as a folder</option>
              ${this.points.map((each) => html`<option value=${each.id} ?selected=${each.id === point}>${when(each.time, true)}</option>`)}
            </select></label>
          <fieldset>
            <legend>Place</legend>
            <label><input type="radio" name="place" .checked=${this.own} @change=${() => (this.own = true)}>
              A new folder that rpdrive makes</label>
            <label><input type="radio" name="place" .checked=${!this.own}
              @change=${() => { this.own = false; this.focusOn("#target"); }}> A folder of mine</label>
            ${this.own ? nothing : html`<rp-folder-picker .label=${"An empty folder"} .path64=${this.place}
              @folder=${(/** @type {any} */ event) => (this.place = event.detail.path64)}></rp-folder-picker>`}
          </fieldset>
          <div class="inline">
            <label class="field"><span>Close if unused for</span>
              <select name="idle"><option value="">never</option><option value="1h" selected>1 hour</option>
                <option value="8h">8 hours</option><option value="1d">1 day</option></select></label>
            <label class="field"><span>Close in any case after</span>
              <select name="total"><option value="">never</option><option value="8h">8 hours</option>
                <option value="1d">1 day</option><option value="7d">7 days</option></select></label>
          </div>
          <p><button class="button primary" aria-disabled=${Boolean(this.working) || (!this.own && !this.place)}>${
            this.working === "open" ? "Opening…" : "Open"}</button></p>
        </form>
      </section>`;
  }
}

/** @param {number} seconds */
function duration(seconds) {
  if (seconds < 90) return count(Math.round(seconds), "second", "seconds");
  if (seconds < 5400) return count(Math.round(seconds / 60), "minute", "minutes");
  return count(Math.round(seconds / 3600), "hour", "hours");
}

customElements.define("rp-drives", Drives);
