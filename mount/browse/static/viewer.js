// <rp-viewer .point .at .size>: the contents of a file, as text, bytes, an image or a link to a PDF.
import {html, nothing} from "./vendor/lit.js";
import {get, post} from "./api.js";
import "./components.js";
import {Plain, note, say} from "./page.js";
import {bytesOf, number, size} from "./text.js";

const HEX = 4096; // bytes a page
const PAGES = 40; // pages of text at most, 256 KiB each
const SMALL = 4000; // characters of a small preview
let wrapping = true; // long lines, in this tab

class RpViewer extends Plain {
  static properties = {point: {attribute: false}, at: {attribute: false}, name: {attribute: false}, as: {attribute: false},
    from: {attribute: false}, small: {attribute: false}, what: {state: true}, error: {state: true}, busy: {state: true}, pages: {state: true}, hex: {state: true},
    link: {state: true}};

  #turn = 0; // answers of an earlier one are dropped

  constructor() {
    super();
    this.point = "";
    this.at = "";
    this.name = "";
    this.as = ""; // "hex": bytes, though it may be text
    this.small = false; // only a part, beside a list of names
    this.from = 0; // the first byte of the page of bytes
    /** @type {any} */
    this.what = null;
    /** @type {any} */
    this.error = null;
    this.busy = false;
    /** @type {{encoding: string, text: string, from: number, next: number | null, size: number}[]} */
    this.pages = [];
    /** @type {{from: number, size: number, bytes: Uint8Array} | null} */
    this.hex = null;
    this.link = "";
  }

  /** @param {Map<string, unknown>} changed */
  willUpdate(changed) {
    if (changed.has("point") || changed.has("at")) this.#load();
  }

  #load() {
    this.what = null;
    this.pages = [];
    this.hex = null;
    this.link = "";
    return this.#ask(async (/** @type {() => boolean} */ late) => {
      const what = await get(`/points/${this.point}/preview`, {at: this.at});
      if (late()) return;
      this.what = what;
      await this.#show(late);
    });
  }

  /** @param {(late: () => boolean) => Promise<void>} act */
  async #ask(act) {
    const turn = ++this.#turn;
    const late = () => turn !== this.#turn;
    this.error = null;
    this.busy = true;
    try {
      await act(late);
    } catch (error) {
      if (!late()) this.error = error;
    }
    if (!late()) this.busy = false;
  }

  get #mode() {
    const kind = this.what?.kind;
    return this.as === "hex" && kind !== "empty" && kind !== "none" ? "hex" : kind;
  }

  /** @param {() => boolean} late */
  async #show(late) {
    const base = `/points/${this.point}`;
    const mode = this.#mode;
    if (mode === "text" && !this.pages.length) {
      const page = await get(`${base}/text`, {at: this.at, from: 0});
      if (!late()) this.pages = [page];
    } else if (mode === "hex" && this.hex?.from !== this.from) {
      const page = await get(`${base}/hex`, {at: this.at, from: this.from, count: this.small ? 256 : HEX});
      if (!late()) this.hex = {...page, bytes: bytesOf(page.bytes)};
    } else if ((mode === "image" || mode === "pdf") && !this.link) {
      const {url} = await post(`${base}/link`, {at: this.at, as: "inline"});
      if (!late()) this.link = url;
    }
  }

  #more() {
    return this.#ask(async (late) => {
      const page = await get(`/points/${this.point}/text`, {at: this.at, from: this.pages[this.pages.length - 1].next});
      if (late()) return;
      this.pages = [...this.pages.slice(1 - PAGES), page];
      say(`Shown up to byte ${number(page.next ?? page.size)}`);
    });
  }

  /** @param {string} as */
  #as(as) {
    this.as = as;
    note({as, from: null});
    return this.#ask((late) => this.#show(late));
  }

  /** @param {number} from */
  #page(from) {
    const last = Math.max(0, Math.floor(((this.hex?.size ?? 1) - 1) / HEX) * HEX);
    this.from = Math.max(0, Math.min(last, Math.floor(from / 16) * 16));
    note({from: this.from || null});
    return this.#ask((late) => this.#show(late));
  }

  render() {
    const mode = this.#mode;
    const kind = this.what?.kind;
    const both = !this.small && (kind === "text" || kind === "image" || kind === "pdf");
    return html`<div class="stack">
      ${both ? html`<div class="bar" role="group" aria-label="Show as">
        ${[["", kind === "pdf" ? "PDF" : kind === "image" ? "Image" : "Text"], ["hex", "Bytes"]].map(([as, label]) => html`<button
          class="button" type="button" aria-pressed=${this.as === as} @click=${() => this.#as(as)}>${label}</button>`)}</div>` : nothing}
      ${mode === "text" ? this.#text() : mode === "hex" ? this.#bytes() : mode === "image" ? this.#image() : mode === "pdf" ? this.#pdf()
        : mode === "empty" ? html`<rp-empty .why=${"This file is empty: it has 0 bytes."}></rp-empty>`
          : mode === "none" ? html`<rp-empty .why=${this.what.why || "There is nothing to preview."}></rp-empty>` : nothing}
      <rp-error .error=${[400, 404].includes(this.error?.status) ? null : this.error /* what is known of the entry says it */} @retry=${() => (this.what ? this.#ask((late) => this.#show(late)) : this.#load())}></rp-error>
      ${this.busy ? html`<rp-loading></rp-loading>` : nothing}
    </div>`;
  }

  #text() {
    if (!this.pages.length) return nothing;
    const last = this.pages[this.pages.length - 1];
    const end = last.next ?? last.size;
    if (this.small) return html`<pre class="view wrapped small" tabindex="0" role="region" aria-label="Begin of the text">${last.text.slice(0, SMALL)}${
      last.text.length > SMALL || last.next !== null ? "\u2026" : ""}</pre>`;
    return html`<div class="bar"><span class="muted grow">${last.encoding}; ${last.next === null ? size(last.size)
        : this.pages[0].from ? `bytes ${number(this.pages[0].from)} to ${number(end)} of ${number(last.size)}`
          : `the first ${size(end)} of ${size(last.size)}`}</span>
        <label class="check"><input type="checkbox" .checked=${wrapping} @change=${(/** @type {Event} */ event) => {
          wrapping = /** @type {HTMLInputElement} */ (event.target).checked;
          this.requestUpdate();
        }}> Wrap long lines</label></div>
      <pre class="view ${wrapping ? "wrapped" : ""}" tabindex="0" role="region" aria-label="Text of the file">${this.pages.map((page) => page.text)}</pre>
      ${last.next === null ? nothing : html`<p><button class="button" type="button" aria-disabled=${this.busy} @click=${this.#more}>Show more</button></p>`}`;
  }

  #bytes() {
    const hex = this.hex;
    if (!hex) return nothing;
    const lines = [];
    for (let i = 0; i < hex.bytes.length; i += 16) {
      const part = Array.from(hex.bytes.subarray(i, i + 16));
      const cells = part.map((byte) => byte.toString(16).padStart(2, "0"));
      const codes = `${cells.slice(0, 8).join(" ")}  ${cells.slice(8).join(" ")}`;
      const signs = part.map((byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : ".")).join("");
      lines.push(`${(hex.from + i).toString(16).padStart(8, "0")}  ${codes.padEnd(48)}  ${signs}`);
    }
    const end = hex.from + hex.bytes.length;
    if (this.small) return html`<pre class="view small" tabindex="0" role="region" aria-label="First bytes of the file">${lines.join("\n")}</pre>`;
    return html`<div class="bar">
        <button class="button" type="button" aria-disabled=${!hex.from} @click=${() => this.#page(hex.from - HEX)}>Earlier bytes</button>
        <button class="button" type="button" aria-disabled=${end >= hex.size} @click=${() => this.#page(end)}>Later bytes</button>
        <label class="field-line">Go to byte <input type="number" min="0" max=${Math.max(0, hex.size - 1)} .value=${`${hex.from}`}
          @change=${(/** @type {Event} */ event) => this.#page(Number(/** @type {HTMLInputElement} */ (event.target).value) || 0)}></label>
        <span class="muted">${number(hex.from)} to ${number(end)} of ${number(hex.size)}</span></div>
      <pre class="view" tabindex="0" role="region" aria-label="Bytes of the file">${lines.join("\n")}</pre>`;
  }

  #image() {
    if (!this.link) return nothing;
    return html`<img class="view" src=${this.link} alt=${`Contents of ${this.name}`} @error=${() => {
      this.error = {kind: "Damaged", message: "the image can't be shown", advice: "Its bytes may be damaged: look at them, or download it."};
    }}>`;
  }

  #pdf() {
    if (!this.link) return nothing;
    return html`<p><a class="button primary" href=${this.link} target="_blank" rel="noopener noreferrer">Open the PDF in a new tab</a></p>`;
  }
}

customElements.define("rp-viewer", RpViewer);
