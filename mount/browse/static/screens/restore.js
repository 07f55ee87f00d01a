// Restore: what, where, and what to do with existing files. Sending the form makes a plan; restore_job.js shows it.
import {html, nothing} from "../vendor/lit.js";
import {get, post} from "../api.js";
import {basket} from "../basket.js";
import {go} from "../page.js";
import {ROOT, count, shown, when} from "../text.js";
import "./folder_picker.js";
import {copyable} from "./copyable.js";
import {textOf} from "./places.js";
import "./restore_job.js";
import {Screen} from "./screen.js";

/** @type {[string, string, string][]} */
const CONFLICTS = [
  ["copy", "Keep both", "The existing file stays; the restored one is put next to it, with the point's date in its name."],
  ["overwrite", "Overwrite", "The restored file replaces the existing one, once it is complete."],
  ["skip", "Skip", "The existing file stays, and nothing is restored."],
  ["newer", "Keep the newer", "The file that was changed later is kept."],
];
const LISTED = 20; // places

class Restore extends Screen {
  static properties = {
    places: {state: true},
    points: {state: true},
    form: {state: true},
    sending: {state: true},
    earlier: {state: true},
    ready: {state: true},
  };

  constructor() {
    super();
    /** @type {{point: string, at: string}[]} */
    this.places = [];
    /** @type {Map<string, any>} */
    this.points = new Map();
    this.form = this.preset();
    this.sending = false;
    /** @type {any[] | null} */
    this.earlier = null;
    this.ready = false;
  }

  preset() {
    return {in_place: true, to: "", on_conflict: "copy", verify: false, permissions: true, confirmed: false};
  }

  get key() {
    return this.url.pathname.split("/")[2] || null;
  }

  /** @param {any} event */
  concerns(event) {
    return event?.type === "restore" && event.id === this.key;
  }

  get name() {
    return this.key ? "" : "Restore";
  }

  async load() {
    const fresh = this.token();
    this.ready = false;
    if (this.key) return;
    const given = this.url.searchParams;
    const point = given.get("point");
    const again = given.get("again");
    this.form = this.preset();
    this.places = point ? [{point, at: given.get("at") ?? ROOT}] : again ? [] : basket.places();
    const earlier = again ? await get(`/restores/${again}`) : null;
    if (!fresh()) return;
    if (earlier) {
      const {in_place, to64, on_conflict, verify, permissions, machine} = earlier;
      this.places = earlier.places.map((/** @type {any} */ place) => ({point: place.point, at: place.path64}));
      this.form = {in_place, to: to64 ?? "", on_conflict, verify, permissions, confirmed: Boolean(machine)};
    }
    const ids = [...new Set(this.places.map((place) => place.point))];
    const [restores, ...points] = await Promise.all([
      point || again || this.session?.read_only ? null : get("/restores"),
      ...ids.map((id) => get(`/points/${id}`).catch((error) => (point ? Promise.reject(error) : null))),
    ]);
    if (!fresh()) return;
    this.ready = true;
    this.earlier = restores?.restores ?? null;
    const known = points.filter(Boolean);
    this.points = new Map(known.map((each) => [each.id, each]));
    const here = known.every((each) => same(each.machine_name, this.session.hostname));
    if (!earlier) this.form = {...this.form, in_place: here};
  }

  /** @param {Partial<ReturnType<Restore["preset"]>>} values */
  set(values) {
    this.form = {...this.form, ...values};
  }

  /** @param {SubmitEvent} event */
  submit(event) {
    event.preventDefault();
    if (this.sending) return;
    const {in_place, to, confirmed, ...others} = this.form;
    const machine = in_place && confirmed ? this.foreign()[0]?.machine ?? null : null;
    const body = {places: this.places, in_place, to: in_place ? null : to, machine, ...others};
    const fresh = this.token();
    this.sending = true;
    this.act(async () => {
      try {
        const {id} = await post("/restores", body);
        if (fresh()) go(`/restore/${id}`); // else it is in the list of restores
      } finally {
        this.sending = false;
      }
    });
  }

  render() {
    if (this.key) return html`<rp-restore-job .job=${this.key}></rp-restore-job>`;
    return html`
      <h1 tabindex="-1">Restore</h1>
      ${this.trouble()}
      ${this.ready ? html`${this.places.length ? this.flow() : html`<rp-empty .why=${
          "Nothing is chosen: mark files in a folder or a search, or open one, and choose Restore there."}></rp-empty>`}${this.others()}`
        : this.problem ? nothing : this.loading("Reading the points…")}
    `;
  }

  others() {
    if (!this.earlier?.length) return nothing;
    return html`
        <section aria-labelledby="earlier">
          <h2 id="earlier">Restores of this machine</h2>
          <ul class="rows">${this.earlier.map((each) => html`<li>
            <a class="main" href="/restore/${each.id}">${when(each.started ?? each.made)}</a>
            <span class="muted">${each.state}: ${each.places.length === 1 ? shown(each.places[0].path)
              : count(each.places.length, "place", "places")} ${each.in_place ? "back in place" : html`to ${shown(each.to ?? "")}`}</span></li>`)}</ul>
        </section>`;
  }

  flow() {
    if (this.session.read_only) return html`${this.what()}${this.readOnly()}`;
    return html`
      <form class="restore-form" @submit=${this.submit}>
        ${this.what()} ${this.where()} ${this.conflict()}
        <fieldset>
          <legend>More</legend>
          <label><input type="checkbox" .checked=${this.form.verify}
            @change=${(/** @type {any} */ event) => this.set({verify: event.target.checked})}>
            Verify: compare existing files by content, and read back what was written</label>
          <label><input type="checkbox" .checked=${this.form.permissions}
            @change=${(/** @type {any} */ event) => this.set({permissions: event.target.checked})}>
            Restore owners, permissions and ACLs, too</label>
        </fieldset>
        <p>
          <button class="button primary" aria-disabled=${this.sending || !(this.form.in_place || this.form.to)}>Show the plan</button>
          <span class="muted">Nothing is written yet: the plan says what would be, and where.</span>
        </p>
      </form>`;
  }

  what() {
    return html`
      <section aria-labelledby="what">
        <h2 id="what">What</h2>
        <ul class="rows">
          ${this.places.slice(0, LISTED).map((place) => {
            const point = this.points.get(place.point);
            return html`<li>${place.at === ROOT ? "Everything" : html`<b>${shown(textOf(place.at))}</b>`}
              <span class="muted">of ${point ? html`${point.machine_name}: ${point.item_name}, ${when(point.time)}` : place.point}</span></li>`;
          })}
        </ul>
        ${this.places.length > LISTED ? html`<p class="muted">And ${count(this.places.length - LISTED, "more place")}, as
          in the <a href="/basket">basket</a>.</p>` : nothing}
      </section>`;
  }

  /** The points of other machines. @returns {any[]} */
  foreign() {
    return [...this.points.values()].filter((point) => !same(point.machine_name, this.session.hostname));
  }

  where() {
    const {in_place, to} = this.form;
    const foreign = this.foreign();
    return html`
      <fieldset>
        <legend>Where</legend>
        <label><input type="radio" name="where" .checked=${in_place} @change=${() => this.set({in_place: true})}>
          Back in place: the paths they had</label>
        ${in_place && foreign.length ? html`<p class="notice warning">! These files are of ${foreign[0].machine_name},
            and this machine is ${this.session.hostname}.</p>
          <label><input type="checkbox" required .checked=${this.form.confirmed}
            @change=${(/** @type {any} */ event) => this.set({confirmed: event.target.checked})}>
            Restore them to the same paths of this machine</label>` : nothing}
        <label><input type="radio" name="where" .checked=${!in_place}
          @change=${() => { this.set({in_place: false}); this.focusOn("#target"); }}>
          Into a folder</label>
        ${in_place ? nothing : html`<rp-folder-picker .label=${"Folder to restore into"} .path64=${to}
          @folder=${(/** @type {any} */ event) => this.set({to: event.target.usable ? event.detail.path64 : ""})}></rp-folder-picker>`}
      </fieldset>`;
  }

  conflict() {
    return html`
      <fieldset>
        <legend>If something else exists where a file belongs</legend>
        ${CONFLICTS.map(([value, name, sentence]) => html`
          <label class="choice"><input type="radio" name="on_conflict" value=${value} .checked=${this.form.on_conflict === value}
            @change=${() => this.set({on_conflict: value})}>
            <span><b>${name}</b> <span class="muted">${sentence}</span></span></label>`)}
      </fieldset>`;
  }

  readOnly() {
    const names = this.places.map((place) => `${place.point.slice(0, 12)}:${textOf(place.at)}`);
    return html`
      <section aria-labelledby="read-only">
        <h2 id="read-only">This page is read-only</h2>
        <p>rpdrive browse was started with <code>--read-only</code>, so it doesn't write to this machine.
          You can still download from the folder, or restore at a terminal:</p>
        ${copyable("Command", `rpdrive restore ${names.map(quoted).join(" ")} --to DIR`)}
      </section>`;
  }
}

/** @param {string} name @param {string} other names of machines */
function same(name, other) {
  return name.toLowerCase().split(".")[0] === other.toLowerCase().split(".")[0];
}

/** A word as a shell takes it. @param {string} word */
function quoted(word) {
  return /^[\w./:@%+=-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

customElements.define("rp-restore", Restore);
