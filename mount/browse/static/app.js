// The frame of every screen: the session, the router, the menu, the banner of what is away, and help.
// A screen is static/screens/NAME.js, which defines <rp-NAME> in the light DOM with the properties `url` (URL) and `session`.
import {html, nothing} from "./vendor/lit.js";
import {ApiError, away, enter, get, load} from "./api.js";
import {basket} from "./basket.js";
import "./components.js";
import {KEYS, letters, listen, setLetters} from "./keys.js";
import {Plain, connect, go, say, session, title} from "./page.js";
import {shown} from "./text.js";

export {go};

/** Screens by the first part of the address, and what they are called until they name themselves. @type {Map<string, [string, string]>} */
const SCREENS = new Map([["", ["home", "Start"]], ["calendar", ["calendar", "Calendar"]], ["point", ["folder", "Folder"]],
  ["search", ["search", "Search"]], ["versions", ["versions", "Versions"]], ["compare", ["compare", "Compare"]],
  ["preview", ["preview", "Preview"]], ["restore", ["restore", "Restore"]], ["basket", ["basket", "Basket"]],
  ["drives", ["drives", "Drives"]], ["jobs", ["jobs", "Jobs"]], ["policies", ["policies", "Policies"]],
  ["storage", ["storage", "Storage"]], ["alerts", ["alerts", "Alerts"]], ["about", ["about", "Keys and about"]]]);

const RETURNING = 50; // looks, of 100 ms, whether a screen is as long again as it was when it was left

const MENU = ["", "calendar", "search", "basket", "restore", "drives", "jobs", "policies", "storage", "alerts", "about"];

/** The token of the link that led here, if any. */
const token = () => new URLSearchParams(location.hash.slice(1)).get("t");

class RpApp extends Plain {
  static properties = {url: {state: true}, session: {state: true}, error: {state: true}, locked: {state: true}, tag: {state: true},
    menu: {state: true}, help: {state: true}, failed: {state: true}};

  #turn = 0; // how often an address was shown
  #arrived = false; // the first screen keeps the focus where the browser put it

  constructor() {
    super();
    this.url = new URL(location.href);
    /** @type {import("./page.js").Session | null} */
    this.session = null;
    /** @type {any} */
    this.error = null;
    /** @type {any} */
    this.locked = null;
    this.tag = "";
    this.menu = false;
    this.help = false;
    /** A download that did not begin, or broke off. @type {{name: string, url?: string, problem?: string} | null} */
    this.failed = null;
    addEventListener("popstate", () => (token() ? this.enter() : this.show(history.state?.left))); // a new link is pasted over this very address
    addEventListener("rp-leave", () => this.#leave());
    document.addEventListener("rp-download-failed", (event) => {
      const {detail} = /** @type {CustomEvent} */ (event);
      this.failed = this.failed?.name === detail.name ? {...this.failed, ...detail} : detail;
    });
    addEventListener("rp-route", () => this.show());
    document.addEventListener("rp-locked", (event) => (this.locked = /** @type {CustomEvent} */ (event).detail));
    document.addEventListener("click", (event) => this.#follow(event));
    // Buttons that can't be pressed at the moment are `aria-disabled`: those that are `disabled` would lose the focus.
    document.addEventListener("click", (event) => {
      if (!(event.target instanceof Element) || !event.target.closest("button[aria-disabled=true]")) return;
      event.preventDefault();
      event.stopImmediatePropagation();
    }, true);
    away.addEventListener("change", () => this.requestUpdate());
    basket.listen(() => this.requestUpdate());
    listen(() => (this.help = true), () => {
      const was = this.menu;
      this.menu = false;
      if (was) /** @type {HTMLElement} */ (this.querySelector(".menu")).focus();
      return was;
    });
    // The screen comes while the session is asked for; if it can't, `show` says so.
    import(`./screens/${SCREENS.get(this.url.pathname.split("/")[1])?.[0] ?? "home"}.js`).catch(() => {});
    this.enter();
  }

  firstUpdated() {
    this.querySelector(".starting")?.remove();
    try {
      sessionStorage.removeItem("rpdrive loads"); // see start.js
    } catch {
      // nothing was noted there
    }
  }

  /** Use the link's token, if there is one, and ask who we are. */
  async enter() {
    this.error = null;
    const given = token();
    if (given) history.replaceState(history.state, "", location.pathname + location.search);
    try {
      this.session = given ? await enter(given) : await get("/session");
      session.current = this.session;
      this.locked = null;
      connect();
      await this.show();
    } catch (error) {
      this.error = error;
    }
  }

  /** Note in the history what is left: "back" leads there. */
  #leave() {
    const link = document.activeElement?.closest("main a[href]")?.getAttribute("href");
    history.replaceState({...history.state, left: {top: scrollY, link}}, "");
  }

  /** @param {{top: number, link?: string}} [left] where the screen was left that is shown again */
  async show(left) {
    const turn = ++this.#turn;
    const url = new URL(location.href);
    this.menu = false;
    if (!this.session) return;
    const known = SCREENS.get(url.pathname.split("/")[1]);
    if (!known) {
      this.url = url;
      this.error = new ApiError("NotFound", "there is no such page", "go back to the start", 404);
      return;
    }
    const [screen, name] = known;
    const tag = `rp-${screen}`;
    try {
      await load(`./screens/${screen}.js`);
    } catch (error) {
      if (turn === this.#turn) this.error = error;
      return;
    }
    if (turn !== this.#turn) return; // another address came meanwhile
    this.error = null;
    this.url = url; // not before: the screen that is left would take it for an address of its own
    if (tag !== this.tag) {
      this.tag = tag;
      title(name);
      await this.updateComplete;
      if (this.#arrived) this.#focus(name, left);
    }
    this.#arrived = true;
  }

  /**
   * After a change of screens: start reading at its heading, or go on where it was left.
   * @param {string} name
   * @param {{top: number, link?: string}} [left]
   */
  async #focus(name, left) {
    const screen = /** @type {any} */ (this.querySelector("main > .screen"));
    await screen?.updateComplete;
    const main = this.querySelector("main");
    if (main && !main.contains(document.activeElement)) main.focus({preventScroll: true});
    scrollTo(0, 0);
    say(name);
    const turn = this.#turn;
    for (let tries = 0; left && tries < RETURNING && turn === this.#turn && !scrollY; tries += 1) {
      const link = /** @type {HTMLElement | undefined} */ (
        [...this.querySelectorAll("main a[href]")].find((each) => each.getAttribute("href") === left.link));
      if (document.documentElement.scrollHeight >= left.top + innerHeight && (link || !left.link)) {
        if (document.activeElement === main) link?.focus({preventScroll: true}); // unless the user went on
        scrollTo(0, left.top);
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  /** Follow links of the page without loading it again. @param {MouseEvent} event */
  #follow(event) {
    const link = event.target instanceof Element ? event.target.closest("a[href]") : null;
    if (!(link instanceof HTMLAnchorElement) || event.defaultPrevented || event.button || link.target || link.hasAttribute("download")) return;
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey || link.origin !== location.origin) return;
    if (/^\/(api|static|c)\//.test(link.pathname) || (link.hash && link.pathname === location.pathname)) return;
    event.preventDefault();
    if (link.href === location.href) this.show();
    else go(link.href);
  }

  render() {
    const here = this.url.pathname.split("/")[1];
    return html`<a class="skip" href="#main" @click=${(/** @type {Event} */ event) => {
        event.preventDefault();
        this.querySelector("main")?.focus();
      }}>Skip to the content</a>
      <header class="top">
        <a class="brand" href="/">rpdrive</a>
        <button class="button menu" type="button" aria-expanded=${this.menu} aria-controls="menu" @click=${() => (this.menu = !this.menu)}>Menu</button>
        <nav id="menu" aria-label="Screens" class=${this.menu ? "open" : ""}>${MENU.map((part) => {
          const name = SCREENS.get(part)?.[1];
          const words = part === "basket" && basket.size ? `${name} (${basket.size})` : name;
          return html`<a href=${`/${part}`} aria-current=${part === here ? "page" : nothing}>${words}</a>`;
        })}</nav>
        <button class="button" type="button" @click=${() => (this.help = true)} title="Keys ( ? )">Help</button>
      </header>
      ${this.#banner()}
      <main id="main" tabindex="-1">${this.error && !this.locked
        ? html`<h1>Something went wrong</h1><rp-error .error=${this.error} @retry=${() => this.enter()}></rp-error>`
        : this.#screen()}</main>
      <rp-dialog .heading=${"Keys"} .open=${this.help} .content=${keyList()} @rp-close=${() => (this.help = false)}></rp-dialog>`;
  }

  #banner() {
    if (this.locked) {
      return html`<div class="banner bad" role="alert"><p><strong>This session is over, or it never began.</strong> Run
        <code>rpdrive browse --link</code> on the machine that serves this page, and open the link that it prints.
        ${this.session ? "What is shown here stays." : nothing}</p>
        <p><button class="button" type="button" @click=${() => this.enter()}>Try again</button></p></div>`;
    }
    const error = away.error;
    if (!error && this.failed) {
      return html`<div class="banner bad" role="alert"><p><strong>${shown(this.failed.name)} could not be downloaded</strong>:
        ${this.failed.problem ? shown(this.failed.problem) : html`<a href=${this.failed.url} target="_blank" rel="noopener noreferrer">see why</a>`}.
        Restore it: a restore goes on with other files.</p>
        <p><button class="button" type="button" @click=${() => {
          this.failed = null;
          this.querySelector("main")?.focus({preventScroll: true});
        }}>Close</button></p></div>`;
    }
    if (!error) return nothing;
    return html`<div class="banner warning" role="alert"><p><strong>${error.message}</strong>${error.advice ? `: ${error.advice}` : ""}.
      What is shown stays; this page goes on by itself.</p>
      <p><button class="button" type="button" @click=${() => away.again()}>Try now</button></p></div>`;
  }

  #screen() {
    if (!this.session || !this.tag) return this.locked ? html`<h1>No session</h1>` : html`<rp-loading></rp-loading>`;
    const screen = /** @type {any} */ (this.querySelector("main > .screen"));
    const element = screen?.localName === this.tag ? screen : document.createElement(this.tag);
    element.className = "screen";
    element.session = this.session;
    element.url = this.url;
    return element;
  }
}

/** The keys as tables, and the switch for those without a modifier. */
export function keyList() {
  return html`<div class="stack">
    <label class="check"><input type="checkbox" .checked=${letters()} @change=${(/** @type {Event} */ event) => {
      const on = /** @type {HTMLInputElement} */ (event.target).checked;
      setLetters(on);
      say(on ? "Letters and signs act" : "Letters and signs no longer act");
    }}> Letters and signs act as keys</label>
    ${KEYS.map(([where, keys]) => html`<section><h3>${where}</h3><dl class="keylist">${keys.map(([names, does]) =>
      html`<div><dt>${names.map((name) => html`<kbd>${name}</kbd> `)}</dt><dd>${does}</dd></div>`)}</dl></section>`)}
  </div>`;
}

customElements.define("rp-app", RpApp);
