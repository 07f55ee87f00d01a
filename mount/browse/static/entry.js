// <rp-entry .point .at .row .machine .item .mark>: what is known about one entry, and what can be done with it.
import {html, nothing} from "./vendor/lit.js";
import {get, load} from "./api.js";
import {basket} from "./basket.js";
import "./components.js";
import {download} from "./download.js";
import {Plain, session, to} from "./page.js";
import {kind, number, plain, shown, size, when} from "./text.js";

let peeking = false; // the contents are shown, too; for all rows of this tab

class RpEntry extends Plain {
  static properties = {point: {attribute: false}, at: {attribute: false}, row: {attribute: false}, machine: {attribute: false},
    item: {attribute: false}, mark: {attribute: false}, whole: {attribute: false}, info: {state: true}, error: {state: true},
    problem: {state: true}};

  /** @type {AbortController | undefined} */
  #asked;
  #unlisten = () => {};

  constructor() {
    super();
    this.point = "";
    this.at = "";
    /** @type {import("./listing.js").Row | null} */
    this.row = null;
    this.machine = "";
    this.item = "";
    this.whole = false; // on a screen of its own, where a link to the preview leads nowhere
    /** @type {((on: boolean) => void) | null} */
    this.mark = null;
    /** @type {any} */
    this.info = null;
    /** @type {any} */
    this.error = null;
    /** @type {any} */
    this.problem = null;
  }

  connectedCallback() {
    super.connectedCallback();
    this.#unlisten = basket.listen(() => this.requestUpdate());
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    this.#unlisten();
    this.#asked?.abort();
  }

  /** @param {Map<string, unknown>} changed */
  willUpdate(changed) {
    if (changed.has("point") || changed.has("at")) this.#load();
  }

  async #load() {
    this.#asked?.abort();
    this.info = null;
    this.error = null;
    this.problem = null;
    if (!this.at) return;
    const {signal} = (this.#asked = new AbortController());
    try {
      // Someone who holds an arrow key passes many rows.
      if (!this.whole) await new Promise((resolve) => setTimeout(resolve, 200));
      signal.throwIfAborted();
      this.info = await get(`/points/${this.point}/entry`, {at: this.at}, signal);
      this.dispatchEvent(new CustomEvent("rp-info", {detail: this.info}));
    } catch (error) {
      if (!signal.aborted) this.error = error;
    }
  }

  /** @param {"attachment" | "tar" | "zip"} as */
  async #download(as) {
    this.problem = null;
    try {
      await download(this.point, this.at, as);
    } catch (error) {
      this.problem = error;
    }
  }

  render() {
    const row = this.row ?? this.info;
    if (!row) return html`<rp-error .error=${this.error} @retry=${() => this.#load()}></rp-error>`;
    const marked = basket.has(this.point, this.at);
    const folder = row.kind === "folder";
    const button = (/** @type {"attachment" | "tar" | "zip"} */ as, /** @type {string} */ label) =>
      html`<button class="button" type="button" @click=${() => this.#download(as)}>${label}</button>`;
    return html`<div class="stack">
      ${this.whole ? nothing : html`<h2 class="entry-name">${shown(row.name || "/", row.name_bytes)}</h2>`}
      <div class="bar">
        ${this.whole ? nothing : html`<a class="button" href=${folder ? to.folder(this.point, this.at) : to.preview(this.point, this.at)}>${
          folder ? "Open" : "Preview"}</a>`}
        ${folder ? [button("tar", "Download tar"), button("zip", "Download zip")] : row.kind === "file" ? button("attachment", "Download") : nothing}
        ${this.machine ? html`<a class="button" href=${to.versions(this.machine, this.item, this.at)}>Versions</a>` : nothing}
        ${session.current?.read_only ? nothing : html`<a class="button" href=${to.restore(this.point, this.at)}>Restore\u2026</a>`}
        ${this.mark ? html`<button class="button" type="button" aria-pressed=${marked} @click=${() => this.mark?.(!marked)}>In the basket${
          marked ? " \u2713" : ""}</button>` : nothing}
      </div>
      <rp-error .error=${this.problem} .final=${true}></rp-error>
      <rp-error .error=${this.error} @retry=${() => this.#load()}></rp-error>
      ${this.whole || row.kind !== "file" || !row.size ? nothing : this.#peek(row)}
      ${this.info?.problem ? html`<div class="notice warning"><p>${shown(this.info.problem)}</p></div>` : nothing}
      ${this.#facts(row, this.info)}
    </div>`;
  }

  /** A small preview, if it is wanted: it reads the file, so not unasked. @param {any} row */
  #peek(row) {
    return html`<details ?open=${peeking} @toggle=${(/** @type {Event} */ event) => {
      peeking = /** @type {HTMLDetailsElement} */ (event.target).open;
      if (peeking) load("./viewer.js").catch((error) => (this.problem = error));
      this.requestUpdate();
    }}><summary>Preview</summary>${peeking && this.info ? html`<rp-viewer .small=${true} .point=${this.point} .at=${this.at}
      .name=${plain(row.name)}></rp-viewer>` : nothing}</details>`;
  }

  /** @param {any} row @param {any} info */
  #facts(row, info) {
    /** @type {[string, unknown][]} */
    const facts = [["Kind", kind(row.kind)]];
    if (row.kind === "folder") {
      facts.push(["Files below it", row.files === null || row.files === undefined ? "" : `${number(row.files)}, ${size(row.size)}`]);
    }
    if (row.kind === "file") facts.push(["Size", row.size === null ? "" : row.size < 1024 ? size(row.size) : `${size(row.size)} (${number(row.size)} bytes)`]);
    if (row.target) facts.push(["Leads to", shown(row.target, row.target_bytes)]);
    facts.push(["Changed", when(row.time, true)]);
    if (info) {
      const who = (/** @type {string} */ name, /** @type {number} */ id) =>
        (name ? html`${shown(name)} (${id})` : id === null || id === undefined ? "" : `${id}`);
      facts.push(["Owner", who(info.user, info.uid)], ["Group", who(info.group, info.gid)],
        ["Mode", info.mode_text ? html`<code>${info.mode_text}</code>` : ""], ["Metadata changed", when(info.ctime, true)],
        ["Names (hard links)", info.nlink > 1 ? number(info.nlink) : ""],
        ["In holes", info.holes ? size(info.holes) : ""], ["Device", info.device?.join(", ") ?? ""],
        ["Access list", list(info.acl, (/** @type {string} */ line) => html`<code>${shown(line)}</code>`)],
        ["Security descriptor", info.sddl ? html`<code class="wrap">${info.sddl}</code>` : ""],
        ["Attributes", list(info.xattrs?.filter((/** @type {any} */ one) => !info.acl?.length || !one.name.startsWith("system.posix_acl_")), (/** @type {any} */ one) => html`${shown(one.name, one.name_bytes)}: ${one.text !== undefined && one.text !== null
          ? shown(one.text) : html`<code class="wrap">${one.hex ?? ""}</code>`}${one.cut ? "\u2026" : ""} <span class="muted">${size(one.size)}</span>`)],
        ["Streams", list(info.streams, (/** @type {any} */ one) => html`${shown(one.name, one.name_bytes)} <span class="muted">${size(one.size)}</span>`)],
        ["Windows attributes", info.windows?.words?.join(", ") ?? ""]);
      for (const [name, value] of Object.entries(info.windows ?? {})) {
        if (value !== null && value !== "" && typeof value !== "object" && name !== "attributes") facts.push([`Windows ${name.replaceAll("_", " ")}`, `${value}`]);
      }
    }
    return html`<dl class="facts">${facts.filter(([, value]) => value !== "" && value !== null && value !== nothing).map(([name, value]) =>
      html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
  }
}

/** @param {any[] | null | undefined} all @param {(one: any) => unknown} each */
const list = (all, each) => (all?.length ? html`<ul class="plain">${all.map((one) => html`<li>${each(one)}</li>`)}</ul>` : "");

customElements.define("rp-entry", RpEntry);
