// Elements that every screen may use. Each is in the light DOM; properties are set by `.name=${…}`.
//
//   <rp-error .error=${error} @retry=${…}>         what happened, to what, what to do; `.final=${true}`: without "try again"
//   <rp-empty .why=${"…"} .advice=${html`…`}>      why there is nothing
//   <rp-loading .text=${"…"}>                      shown only if it takes a while
//   <rp-path .parts=${[{name, name_bytes, href}]}> the way to a place; the last part is where we are
//   <rp-dialog .heading .content .open @rp-close>  a modal dialog: native <dialog>; content is a template
//   <rp-progress .value .max .words .label>        native <progress> (max 0: no end is known), and words
//   <rp-time .iso .ago>                            a time; with .ago its age too
import {html, nothing} from "./vendor/lit.js";
import {Plain} from "./page.js";
import {age, shown, when} from "./text.js";

/** Where what isn't there can be looked for, by the words of the advice. @type {[RegExp, string, string][]} */
const ELSEWHERE = [
  [/list of restores/, "/restore", "Restore"], [/list of jobs/, "/jobs", "Jobs"], [/list of drives/, "/drives", "Drives"],
  [/calendar/, "/calendar", "Calendar"], [/start it again/, "/search", "Search"], [/go back to the (start|list)/, "/", "Start"],
];

class RpError extends Plain {
  static properties = {error: {attribute: false}, final: {attribute: false}};

  constructor() {
    super();
    /** @type {(Error & {kind?: string, advice?: string}) | null} */
    this.error = null;
    this.final = false;
  }

  render() {
    const error = this.error;
    if (!error || error.kind === "Locked") return nothing; // the banner says that the session is over
    const other = error.kind === "NotFound" ? ELSEWHERE.find(([words]) => words.test(error.advice ?? "")) : undefined;
    return html`<div class="notice bad" role="alert">
      <p><strong>${shown(error.message)}</strong>${error.kind ? html` <span class="badge">${error.kind}</span>` : nothing}</p>
      ${error.advice ? html`<p>${shown(error.advice)}</p>` : nothing}
      ${other ? html`<p><a class="button" href=${other[1]}>${other[2]}</a></p>` : this.final ? nothing : html`<p><button class="button" type="button" @click=${() =>
        this.dispatchEvent(new CustomEvent("retry", {bubbles: true}))}>Try again</button></p>`}
    </div>`;
  }
}

class RpEmpty extends Plain {
  static properties = {why: {}, advice: {attribute: false}};

  constructor() {
    super();
    /** @type {unknown} */
    this.why = "";
    /** @type {unknown} */
    this.advice = nothing;
  }

  render() {
    return html`<div class="empty"><p>${this.why}</p>${this.advice === nothing || !this.advice ? nothing
      : html`<p>${this.advice}</p>`}</div>`;
  }
}

class RpLoading extends Plain {
  static properties = {text: {attribute: false}};

  constructor() {
    super();
    this.text = "Loading\u2026";
  }

  render() {
    return html`<p class="loading" role="status">${this.text}</p>`;
  }
}

class RpPath extends Plain {
  static properties = {parts: {attribute: false}};

  constructor() {
    super();
    /** @type {{name: string, name_bytes?: string | null, href?: string}[]} */
    this.parts = [];
  }

  render() {
    const last = this.parts.length - 1;
    return html`<nav class="path" aria-label="Path"><ol>${this.parts.map((part, i) =>
      html`<li>${part.href
        ? html`<a href=${part.href} aria-current=${i === last ? "page" : nothing}>${shown(part.name, part.name_bytes)}</a>`
        : shown(part.name, part.name_bytes)}</li>`)}</ol></nav>`;
  }
}

class RpDialog extends Plain {
  static properties = {heading: {attribute: false}, content: {attribute: false}, open: {attribute: false}};

  constructor() {
    super();
    this.heading = "";
    /** @type {unknown} */
    this.content = nothing;
    this.open = false;
  }

  updated() {
    const dialog = this.querySelector("dialog");
    if (!dialog || dialog.open === this.open) return;
    if (this.open) dialog.showModal();
    else dialog.close();
  }

  #closed() {
    this.open = false;
    this.dispatchEvent(new Event("rp-close"));
  }

  render() {
    return html`<dialog aria-label=${this.heading} @close=${this.#closed}>
      <header class="bar"><h2 class="grow">${this.heading}</h2>
        <button class="button" type="button" @click=${() => this.querySelector("dialog")?.close()}>Close</button></header>
      ${this.open ? this.content : nothing}</dialog>`;
  }
}

class RpProgress extends Plain {
  static properties = {value: {attribute: false}, max: {attribute: false}, words: {attribute: false}, label: {attribute: false}};

  constructor() {
    super();
    this.value = 0;
    this.max = 0;
    this.words = "";
    this.label = "";
  }

  render() {
    const bar = this.max
      ? html`<progress aria-label=${this.label || this.words} .value=${Math.min(this.value, this.max)} max=${this.max}></progress>`
      : html`<progress aria-label=${this.label || this.words}></progress>`;
    return html`<div class="progress">${bar}<span>${this.words}</span></div>`;
  }
}

class RpTime extends Plain {
  static properties = {iso: {attribute: false}, ago: {attribute: false}};

  constructor() {
    super();
    /** @type {string | null} */
    this.iso = null;
    this.ago = false;
  }

  render() {
    if (!this.iso) return html`<span class="muted">never</span>`;
    return html`<time datetime=${this.iso}>${when(this.iso)}</time>${this.ago ? html` <span class="muted">${age(this.iso)}</span>` : nothing}`;
  }
}

for (const [name, element] of Object.entries({"rp-error": RpError, "rp-empty": RpEmpty, "rp-loading": RpLoading,
  "rp-path": RpPath, "rp-dialog": RpDialog, "rp-progress": RpProgress, "rp-time": RpTime})) {
  customElements.define(name, element);
}
