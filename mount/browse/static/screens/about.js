// Keys, versions, a link for another device, and the end of the session: /about
import {html, nothing} from "../vendor/lit.js";
import {del, post} from "../api.js";
import {keyList} from "../app.js";
import "../components.js";
import {Plain, say, title} from "../page.js";

class RpAbout extends Plain {
  static properties = {url: {attribute: false}, session: {attribute: false}, link: {state: true}, left: {state: true}, error: {state: true}};

  /** @type {ReturnType<typeof setInterval> | undefined} */
  #clock;

  constructor() {
    super();
    /** @type {URL | null} */
    this.url = null;
    /** @type {import("../page.js").Session | null} */
    this.session = null;
    this.link = "";
    this.left = 0; // seconds for which the link works
    /** @type {any} */
    this.error = null;
  }

  connectedCallback() {
    super.connectedCallback();
    title("Keys and about");
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    clearInterval(this.#clock);
  }

  async #ask() {
    this.error = null;
    try {
      const {url, seconds} = await post("/session/link");
      this.link = url;
      const end = Date.now() + seconds * 1000;
      clearInterval(this.#clock);
      const tick = () => {
        this.left = Math.max(0, Math.round((end - Date.now()) / 1000));
        if (!this.left) {
          clearInterval(this.#clock);
          this.link = "";
        }
      };
      tick();
      this.#clock = setInterval(tick, 1000);
      say("Here is the link");
    } catch (error) {
      this.error = error;
    }
  }

  async #copy() {
    try {
      await navigator.clipboard.writeText(this.link);
      say("Copied");
    } catch {
      /** @type {HTMLInputElement | null} */ (this.querySelector(".link"))?.select();
    }
  }

  async #end() {
    this.error = null;
    try {
      await del("/session");
      location.reload();
    } catch (error) {
      this.error = error;
    }
  }

  render() {
    const session = this.session;
    if (!session) return nothing;
    return html`<div class="stack">
      <h1>Keys and about</h1>
      <section class="card stack"><h2>Keys</h2>${keyList()}</section>
      <section class="card stack"><h2>Another device, or another browser</h2>
        <p>A link opens this page once, within two minutes. Open it where the address of this page leads to this machine, too.</p>
        ${this.link ? html`<label class="field">Link (${this.left} s left)
            <input class="link" type="text" readonly .value=${this.link}></label>
          <p class="bar"><button class="button" type="button" @click=${this.#copy}>Copy</button></p>`
          : html`<p><button class="button" type="button" @click=${this.#ask}>Make a link</button></p>`}
        <rp-error .error=${this.error} .final=${true}></rp-error></section>
      <section class="card stack"><h2>This page</h2>
        <dl class="facts">
          <div><dt>Version</dt><dd>rpdrive ${session.version}</dd></div>
          <div><dt>Machine</dt><dd>${session.hostname}</dd></div>
          <div><dt>Times</dt><dd>${session.zone}</dd></div>
          <div><dt>Vault</dt><dd class="wrap">${session.vault?.address}</dd></div>
          ${session.fingerprint ? html`<div><dt>Certificate (SHA-256)</dt><dd class="wrap">${session.fingerprint}</dd></div>` : nothing}
          ${session.read_only ? html`<div><dt>Restores</dt><dd>off: the page is read-only</dd></div>` : nothing}
        </dl>
        <p><button class="button" type="button" @click=${this.#end}>End this session</button></p></section>
    </div>`;
  }
}

customElements.define("rp-about", RpAbout);
