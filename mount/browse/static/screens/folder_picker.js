// Chooses a folder of this machine: by typing its path, or by walking. One that doesn't exist yet will be made.
import {html, nothing} from "../vendor/lit.js";
import {get} from "../api.js";
import {Plain, stayed} from "../page.js";
import {shown, size} from "../text.js";
import {behind, path64Of, tidy} from "./places.js";

const PAUSE = 350; // ms after the last key, before the server is asked about a path

const WHOLE = /^(\/|[A-Za-z]:[\\/])/; // a path from the top

export class FolderPicker extends Plain {
  static properties = {
    label: {attribute: false},
    path64: {attribute: false},
    walking: {state: true},
    here: {state: true},
    problem: {state: true},
    words: {state: true},
    text: {state: true},
  };

  constructor() {
    super();
    this.label = "Folder";
    /** The folder chosen; empty if there is none. */
    this.path64 = "";
    /** What the field holds. */
    this.text = "";
    this.walking = false;
    /** The folder that the list shows. @type {any} */
    this.here = null;
    /** @type {any} */
    this.problem = null;
    /** What is known about the path. */
    this.words = "";
    this.refused = false;
    this.typing = 0;
    this.turn = 0; // how often a folder was asked for, or something else was chosen meanwhile
    /** The bytes of the folder that was picked; what is typed behind it is below it. */
    this.base = {path: "", path64: ""};
  }

  /** @param {Map<string, unknown>} changed */
  willUpdate(changed) {
    if (changed.has("path64") && this.path64 && !this.text) this.look(this.path64, true);
  }

  /** Whether a restore can go there, as far as is known. */
  get usable() {
    return WHOLE.test(this.text.trim()) && !this.refused;
  }

  /** @param {Event} event */
  typed(event) {
    this.text = /** @type {HTMLInputElement} */ (event.target).value;
    const {path, path64} = this.base;
    const rest = path && this.text.startsWith(path) ? this.text.slice(path.length).replace(/^\//, "") : null;
    this.path64 = !this.text.trim() ? "" : rest === null ? path64Of(this.text) : rest ? behind(path64, tidy(rest)) : path64;
    this.words = "";
    this.refused = false;
    this.turn += 1;
    clearTimeout(this.typing);
    if (this.text && !WHOLE.test(this.text.trim())) this.words = "Write the whole path, from the top: /srv/restored";
    else this.typing = window.setTimeout(() => this.look(this.path64, false), PAUSE);
    this.tell();
  }

  tell() {
    this.dispatchEvent(new CustomEvent("folder", {detail: {path64: this.path64, text: this.text}, bubbles: true}));
  }

  /** What the server says of a folder. @param {string} path64 @param {boolean} take whether it becomes the chosen one */
  async look(path64, take) {
    if (!path64) return;
    try {
      const answer = await get("/local/folders", {at: path64});
      if (path64 !== this.path64) return;
      if (take) this.take(answer);
      this.judge(answer);
    } catch (error) {
      if (path64 !== this.path64) return;
      const {status, message} = /** @type {any} */ (error);
      const missing = status === 404 && message.includes("no such");
      this.refused = !missing;
      this.words = missing ? "It doesn't exist yet: it will be made." : message;
      this.tell();
    }
  }

  /** @param {any} folder */
  judge(folder) {
    this.refused = Boolean(folder.refused);
    this.words = folder.refused ? `Nothing is restored there: ${folder.refused}.`
      : folder.unreadable ? folder.unreadable : folder.writable ? `It exists${folder.free ? `, ${size(folder.free)} are free` : ""}.`
        : "You can't write to this folder.";
    this.tell();
  }

  /** @param {any} folder */
  take(folder) {
    this.base = {path: folder.path, path64: folder.path64};
    this.path64 = folder.path64;
    this.text = folder.path;
  }

  /** Shows a folder's folders, and chooses it. @param {string} path64 "" is the home folder */
  async walk(path64) {
    const turn = ++this.turn;
    const from = document.activeElement;
    clearTimeout(this.typing);
    this.walking = true;
    this.problem = null;
    try {
      const here = await get("/local/folders", {at: path64});
      if (turn !== this.turn) {
        this.here ??= here; // a path was typed meanwhile: the list only shows where one could begin
        return;
      }
      this.here = here;
      this.take(here);
      this.judge(here);
      await this.updateComplete;
      if (stayed(from)) /** @type {HTMLElement | null} */ (this.querySelector(".folders button"))?.focus();
    } catch (error) {
      if (turn === this.turn) this.problem = error;
    }
  }

  /** @param {KeyboardEvent} event */
  keys(event) {
    const buttons = /** @type {HTMLElement[]} */ ([...this.querySelectorAll(".folders button")]);
    const here = buttons.indexOf(/** @type {HTMLElement} */ (event.target));
    if (here < 0) return;
    if (event.key === "Escape") {
      event.stopPropagation();
      this.turn += 1;
      this.walking = false;
      /** @type {HTMLElement | null} */ (this.querySelector("input"))?.focus();
      return;
    }
    if (event.key === "Backspace" && this.here?.parent) {
      event.preventDefault();
      event.stopPropagation();
      this.walk(this.here.parent);
      return;
    }
    const next = {ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: buttons.length - 1}[event.key];
    if (next === undefined) return;
    event.preventDefault();
    buttons[Math.max(0, Math.min(buttons.length - 1, next))].focus();
  }

  render() {
    return html`
      <label class="field">
        <span>${this.label}</span>
        <input id="target" autocomplete="off" autocapitalize="off" spellcheck="false" .value=${this.text}
          placeholder="/srv/restored" aria-describedby="target-words" @input=${this.typed}>
      </label>
      <p class="muted" id="target-words" role="status">${this.words || "A path on this machine. A folder that doesn't exist yet is made."}</p>
      ${this.walking ? this.list() : html`<button class="button" type="button" @click=${() => this.walk(this.path64 && !this.refused
        && this.words.startsWith("It exists") ? this.path64 : "")}>Choose from a list…</button>`}
      ${this.problem ? html`<rp-error .error=${this.problem} @retry=${() => this.walk("")}></rp-error>` : nothing}`;
  }

  list() {
    const here = this.here;
    if (!here) return html`<p class="muted" role="status">Reading the folder…</p>`;
    return html`
      <div class="folders" role="group" aria-label="Folders in ${here.path}" @keydown=${this.keys}>
        <p class="muted">Enter opens a folder and chooses it, Backspace goes up, Esc closes the list.</p>
        <ul>
          ${here.parent ? html`<li><button class="button" type="button" @click=${() => this.walk(here.parent)}>↑ Up</button></li>` : nothing}
          ${here.folders.map((/** @type {any} */ folder) => html`
            <li><button class="button" type="button" @click=${() => this.walk(folder.path64)}>${shown(folder.name, folder.name_bytes)}</button></li>`)}
        </ul>
        ${here.more ? html`<p class="muted">It has more folders than are shown: type the path.</p>` : nothing}
        ${here.folders.length ? nothing : html`<p class="muted">${here.unreadable ?? "No folders are in this one."}</p>`}
      </div>`;
  }
}

customElements.define("rp-folder-picker", FolderPicker);
