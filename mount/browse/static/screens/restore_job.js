// One restore at its own address: the plan, then the run, then how it ended. The restore is a process of its own.
import {html, nothing} from "../vendor/lit.js";
import {del, get, post} from "../api.js";
import {say, stayed} from "../page.js";
import {count, shown, size, when} from "../text.js";
import {copyable} from "./copyable.js";
import {Screen, bar} from "./screen.js";

/** @type {Record<string, string>} */
const TITLES = {
  planning: "Making the plan",
  planned: "The plan",
  running: "Restoring",
  done: "Restored",
  problems: "Restored, with problems",
  failed: "The restore failed",
  stopped: "The restore was stopped",
};
/** @type {Record<string, string>} */
const SIGNS = {done: "✓", problems: "!", failed: "✗", stopped: "■"};
/** How a path is treated, in words. @type {Record<string, string>} */
const ACTIONS = {
  new: "new", overwrite: "overwrites the file there", copy: "copy beside the file there", skip: "skipped", same: "the same already",
  attributes: "only its attributes", refuse: "left alone", remove: "removed",
};
/** @type {Record<string, string>} */
const CONFLICTS = {copy: "both are kept", overwrite: "overwritten", skip: "left, and nothing restored", newer: "the newer one is kept"};
const ACTIVE = ["planning", "running"];

class RestoreJob extends Screen {
  static properties = {
    job: {attribute: false},
    restore: {state: true},
    asking: {state: true},
    dropped: {state: true},
  };

  constructor() {
    super();
    this.job = "";
    /** @type {any} */
    this.restore = null;
    /** Whether "stop" asks if that is meant. */
    this.asking = false;
    this.dropped = false;
    this.told = 0; // quarters
  }

  /** @param {any} event */
  concerns(event) {
    return event?.type === "restore" && event.id === this.job;
  }

  /** @param {Map<string, unknown>} changed */
  willUpdate(changed) {
    if (changed.has("job")) this.attempt(() => this.load());
  }

  get name() {
    return TITLES[this.restore?.state] ?? "Restore";
  }

  async load() {
    this.restore = null;
    this.asking = false;
    this.dropped = false;
    if (await this.fetch()) this.follow(() => this.fetch());
  }

  /** Asks how it is. Returns whether that can change by itself. */
  async fetch() {
    const fresh = this.token();
    const restore = await get(`/restores/${this.job}`);
    if (!fresh()) return false;
    const before = this.restore?.state;
    this.restore = restore;
    if (before !== restore.state) await this.changed(before, restore.state);
    else this.tell(restore.progress);
    return ACTIVE.includes(restore.state);
  }

  /** @param {string | undefined} before @param {string} state */
  async changed(before, state) {
    say(`${TITLES[state] ?? state}${state === "planned" ? `: ${this.counts()}` : ""}`);
    // What had the focus may be gone: the heading says what became of it.
    const lost = stayed(null) || this.contains(document.activeElement);
    if (lost && (before !== undefined || state === "planned")) await this.focusOn("h1");
    this.asking = false;
  }

  /** Says each quarter of the way. @param {any} progress */
  tell(progress) {
    const part = progress?.bytes_total ? Math.floor((4 * progress.bytes) / progress.bytes_total) : 0;
    if (part > this.told && part < 4) say(`${25 * part} % restored`);
    this.told = Math.max(part, this.told);
  }

  start() {
    this.act(async () => {
      await post(`/restores/${this.job}/start`, {});
      if (await this.fetch()) this.follow(() => this.fetch());
    });
  }

  stop() {
    const from = document.activeElement;
    this.act(async () => {
      await del(`/restores/${this.job}`);
      await this.fetch();
      this.asking = false;
      this.focusOn("h1", from);
    });
  }

  drop() {
    const from = document.activeElement;
    this.act(async () => {
      await del(`/restores/${this.job}`);
      this.dropped = true;
      this.focusOn("h1", from);
    });
  }

  render() {
    const restore = this.restore;
    if (this.dropped) {
      return html`<h1 tabindex="-1">The plan was dropped</h1>
        <rp-empty .why=${"Nothing was written."}></rp-empty>`;
    }
    const state = restore?.state;
    return html`
      <h1 tabindex="-1" data-state=${state ?? nothing}>${SIGNS[state] ? html`<span aria-hidden="true">${SIGNS[state]}</span> ` : nothing}${
        TITLES[state] ?? "Restore"}</h1>
      ${this.trouble()}
      ${!restore ? (this.problem ? nothing : this.loading("Asking how the restore is…"))
        : state === "planning" ? this.planning() : state === "planned" ? this.plan()
          : state === "running" ? this.running() : this.end()}
    `;
  }

  planning() {
    const {progress} = this.restore;
    return html`
      ${bar(null, "The plan is being made")}
      <p role="status">Comparing with what exists at the target${progress?.files ? html`: ${count(progress.files, "entry", "entries")} so far` : nothing}…</p>
      <p>
        <button type="button" class="button primary" disabled>Restore</button>
        <button class="button" type="button" @click=${this.drop}>Cancel</button>
        <span class="muted">The button works once the plan is here. Nothing is written until then.</span>
      </p>`;
  }

  counts() {
    const plan = this.restore.plan ?? {};
    const what = [plan.files && count(plan.files, "file", "files"), plan.folders && count(plan.folders, "folder", "folders")].filter(Boolean);
    const parts = kinds(plan);
    return `${what.join(" and ") || "no entries"}, ${size(plan.bytes ?? 0)}${parts ? `: ${parts}` : ""}`;
  }

  plan() {
    const {plan = {}, changed} = this.restore;
    const refused = plan.refusals ?? [];
    const first = plan.first ?? [];
    const work = (plan.new ?? 0) + (plan.overwritten ?? 0) + (plan.copies ?? 0) + (plan.attributes ?? 0);
    return html`
      ${changed ? html`<p class="notice warning" role="status">! ${changed}. Nothing was written: look at the new plan.</p>` : nothing}
      ${this.target()}
      <p class="counts">${this.counts()}.</p>
      ${this.list(refused, "This can't be restored", "refusals")}
      ${(plan.room ?? []).filter((/** @type {any} */ room) => !room.enough).map((/** @type {any} */ room) => html`
        <p class="notice warning">! ${shown(room.path)} has ${size(room.free)} free, and the restore may need ${size(room.needed)}.</p>`)}
      ${this.list(plan.problems ?? [], `Problems: ${(plan.problem_count ?? 0).toLocaleString("en")}`, "problems")}
      <h2>${first.length < 20 ? "Where they will be" : "Where they will be: the first 20"}</h2>
      ${first.length ? html`<ul class="paths">${first.map((/** @type {any} */ each) => html`
        <li>${shown(each.path)} <span class="muted">${ACTIONS[each.what] ?? each.what}</span></li>`)}</ul>`
        : html`<rp-empty .why=${"No entry would be written: all of them exist already, or were left out."}></rp-empty>`}
      <p class="toolbar">
        <button type="button" class="button primary" aria-disabled=${refused.length > 0} @click=${this.start}>${
          work ? `Restore ${count(work, "file", "files")}` : "Restore"}</button>
        <a class="button" href="/restore?again=${this.job}">Change</a>
        <button class="button" type="button" @click=${this.drop}>Drop the plan</button>
      </p>
      ${this.command()}`;
  }

  target() {
    const {in_place: inPlace, to, on_conflict: conflict, verify} = this.restore;
    return html`<p>${inPlace ? "Back in place" : html`Into ${shown(to ?? "")}`}; existing files: ${CONFLICTS[conflict] ?? conflict}${
      verify ? "; what is written is read back and compared" : nothing}.</p>`;
  }

  /** @param {any[]} lines @param {string} title @param {string} id */
  list(lines, title, id) {
    if (!lines.length) return nothing;
    return html`<section aria-labelledby=${id}><h2 id=${id}>${title}</h2>
      <ul class="problems">${lines.map((line) => html`<li>${typeof line === "string" ? line
        : html`${line.path ? html`${shown(line.path)}: ` : nothing}${line.reason}`}</li>`)}</ul></section>`;
  }

  /** How far it is, in words. @param {any} progress @param {number | null} fraction */
  far({files = 0, files_total: filesTotal, bytes = 0, bytes_total: bytesTotal, phase}, fraction) {
    if (phase !== "stopping" && (phase !== "restoring" || !filesTotal)) {
      return `Comparing the target with the plan${files ? `, ${count(files, "entry", "entries")} so far` : ""}: if it has changed, nothing is written.`;
    }
    return html`${fraction === null ? nothing : html`<b>${Math.floor(100 * Math.min(1, fraction))} %</b>: `}${
      files.toLocaleString("en")}${filesTotal ? html` of ${count(filesTotal, "file")}` : " files"},
      ${size(bytes)}${bytesTotal ? html` of ${size(bytesTotal)}` : nothing}${phase === "stopping" ? "; stopping in order" : nothing}`;
  }

  running() {
    const progress = this.restore.progress ?? {};
    const {files = 0, files_total: filesTotal, bytes = 0, bytes_total: bytesTotal, current, phase} = progress;
    const fraction = bytesTotal ? bytes / bytesTotal : filesTotal ? files / filesTotal : null;
    return html`
      ${bar(fraction, "Progress of the restore")}
      <p class="counts">${this.far(progress, fraction)}</p>
      ${current ? html`<p class="muted now">${shown(current)}</p>` : nothing}
      <p>You may close this page: the restore is a process of its own and goes on without it. This address shows it again.</p>
      ${phase === "stopping" ? nothing : this.asking ? html`
        <div role="group" aria-label="Stop the restore?" class="toolbar">
          <span>Complete files stay, unfinished ones are removed or continued by the next restore.</span>
          <button type="button" id="really" class="button danger" @click=${this.stop}>Stop it</button>
          <button class="button" type="button" @click=${() => { this.asking = false; this.focusOn("#stop"); }}>Go on</button>
        </div>` : html`<p><button class="button" type="button" id="stop" @click=${() => { this.asking = true; this.focusOn("#really"); }}>Stop…</button></p>`}
      ${this.list(this.restore.problems ?? [], "Problems so far", "problems")}
      ${this.command()}`;
  }

  end() {
    const {state, error, problems = [], problem_count: total = problems.length, started, finished, result} = this.restore;
    const folder = this.folder();
    return html`
      ${result ? html`<p class="counts">${(result.lines ?? []).map((/** @type {string} */ line) => html`${line}<br>`)}</p>` : nothing}
      <p class="muted">${started ? html`Begun ${when(started)}${finished ? html`, ended ${when(finished)}` : nothing}.` : nothing}</p>
      ${state === "stopped" ? html`<p>Complete files stay where they are. The same restore again goes on from there.</p>` : nothing}
      ${error ? html`<div class="notice bad" role="alert"><p><strong>${error.message}</strong></p><p>${error.advice}</p></div>` : nothing}
      ${this.list(problems, `Problems: ${total.toLocaleString("en")}`, "problems")}
      ${total > problems.length ? html`<p class="muted">The first ${problems.length} are listed.</p>` : nothing}
      ${state === "failed" || state === "stopped" ? html`<p><a class="button" href="/restore?again=${this.job}">Restore again…</a></p>` : nothing}
      ${folder ? html`<h2>Open the folder</h2>${copyable("Path", folder)}` : nothing}
      ${this.command()}`;
  }

  /** Where the restored files are, as text. */
  folder() {
    const {to, plan, places} = this.restore;
    if (to) return to;
    const first = plan?.first?.[0]?.path ?? places?.[0]?.path;
    return first ? first.slice(0, Math.max(1, first.lastIndexOf("/"))) : null;
  }

  command() {
    const {command} = this.restore;
    if (!command) return nothing;
    return html`<details><summary>The same at a terminal</summary>
      ${copyable("Command", typeof command === "string" ? command : command.join(" "))}</details>`;
  }
}

/** What happens to how many, in words. @param {any} plan */
function kinds(plan) {
  const rows = [
    [plan.new, "new"], [plan.overwritten, "overwritten"], [plan.copies, "as copies beside existing ones"],
    [plan.attributes, "only attributes"], [plan.skipped, "skipped"], [plan.same, "the same already"], [plan.refused, "left alone"],
  ];
  return rows.filter(([n]) => n).map(([n, word]) => `${Number(n).toLocaleString("en")} ${word}`).join(", ");
}

customElements.define("rp-restore-job", RestoreJob);
