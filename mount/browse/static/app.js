// The frame of every screen: lets the browser in, shows the screen that the address names, and says what goes wrong.
import {LitElement, html, nothing} from "./vendor/lit.js";
import {ApiError, get, post} from "./api.js";
import "./components.js";

/** Screens by the first part of the address. */
const SCREENS = new Map(
  Object.entries({
    "": "home", calendar: "calendar", point: "folder", search: "search", versions: "versions", compare: "compare",
    preview: "preview", restore: "restore", basket: "basket", drives: "drives", jobs: "jobs", policies: "policies",
    storage: "storage", alerts: "alerts", about: "about",
  }),
);

/** Go to another address of the page. @param {string} href @param {boolean} [replace] */
export function go(href, replace = false) {
  history[replace ? "replaceState" : "pushState"](null, "", href);
  dispatchEvent(new PopStateEvent("popstate"));
}

class RpApp extends LitElement {
  static properties = {url: {state: true}, session: {state: true}, error: {state: true}, tag: {state: true}};

  constructor() {
    super();
    this.url = new URL(location.href);
    /** @type {any} */
    this.session = null;
    /** @type {any} */
    this.error = null;
    this.tag = "";
    addEventListener("popstate", () => this.show());
    document.addEventListener("rp-locked", (event) => (this.error = /** @type {CustomEvent} */ (event).detail));
    document.addEventListener("click", (event) => this.#follow(/** @type {MouseEvent} */ (event)));
    this.enter();
  }

  createRenderRoot() {
    return this;
  }

  /** Use the link's token, if there is one, and ask who we are. */
  async enter() {
    this.error = null;
    try {
      const token = new URLSearchParams(location.hash.slice(1)).get("t");
      if (token) {
        history.replaceState(null, "", location.pathname + location.search);
        this.session = await post("/session", {token});
      } else {
        this.session = await get("/session");
      }
      await this.show();
    } catch (error) {
      this.error = error;
    }
  }

  async show() {
    this.url = new URL(location.href);
    const screen = SCREENS.get(this.url.pathname.split("/")[1]);
    if (!screen) {
      this.error = new ApiError("NotFound", "there is no such page", "go back to the start", 404);
      return;
    }
    try {
      await import(`./screens/${screen}.js`);
      this.error = null;
      this.tag = `rp-${screen}`;
    } catch (error) {
      this.error = new ApiError("Unexpected", "this screen can't be shown", String(error), 0);
    }
  }

  /** Follow links of the page without loading it again. @param {MouseEvent} event */
  #follow(event) {
    const link = /** @type {Element} */ (event.target).closest?.("a[href]");
    if (!(link instanceof HTMLAnchorElement) || event.defaultPrevented || event.button || link.target || link.download) return;
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey || link.origin !== location.origin) return;
    event.preventDefault();
    go(link.href);
  }

  render() {
    return html`<header class="top"><a href="/">rpdrive</a>
        <nav aria-label="Screens">
          <a href="/calendar">Calendar</a> <a href="/search">Search</a> <a href="/basket">Basket</a>
          <a href="/restore">Restores</a> <a href="/drives">Drives</a> <a href="/jobs">Jobs</a>
          <a href="/policies">Policies</a> <a href="/storage">Storage</a> <a href="/alerts">Alerts</a>
          <a href="/about">About</a>
        </nav></header>
      <main>${this.error ? html`<rp-error .error=${this.error} @retry=${() => this.enter()}></rp-error>` : this.#screen()}</main>`;
  }

  #screen() {
    if (!this.session || !this.tag) return nothing;
    const screen = /** @type {any} */ (this.querySelector("main > .screen"));
    const element = screen?.localName === this.tag ? screen : document.createElement(this.tag);
    element.className = "screen";
    element.url = this.url;
    element.session = this.session;
    return element;
  }
}
customElements.define("rp-app", RpApp);
