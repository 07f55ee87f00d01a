// What all screens share: loading with "try again", a polite word for screen readers, and following something that runs.
import {html, nothing} from "../vendor/lit.js";
import {plainKey} from "../keys.js";
import {Plain, stayed, title} from "../page.js";

/** @typedef {{kind: string, message: string, advice: string, status?: number}} Problem */

const POLL = [200, 300, 500, 800, 1200, 2000]; // ms between two questions about something that runs

/** A screen: `load()` runs for each new URL, and `body()` draws what it fetched. */
export class Screen extends Plain {
  /** @type {Record<string, object>} */
  static properties = {
    url: {attribute: false},
    session: {attribute: false},
    problem: {state: true},
    busy: {state: true},
  };

  constructor() {
    super();
    /** @type {URL} */
    this.url = new URL(location.href);
    /** What the page knows of the server; set by the frame. @type {any} */
    this.session = null;
    /** @type {Problem | null} */
    this.problem = null;
    this.busy = false;
    /** The function that "try again" repeats. @type {(() => unknown) | null} */
    this.again = null;
    this.round = 0;
    this.waiting = 0;
    /** @type {(() => void) | null} */
    this.wake = null;
    this.heard = (/** @type {any} */ event) => {
      if (this.wake && (event.detail?.type === "all" || this.concerns(event.detail))) this.wake();
    };
  }

  connectedCallback() {
    super.connectedCallback();
    window.addEventListener("rp-event", this.heard);
    this.addEventListener("keydown", leaveField);
    if (this.hasUpdated) this.attempt(() => this.load());
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    window.removeEventListener("rp-event", this.heard);
    this.removeEventListener("keydown", leaveField);
    this.round++;
    this.wake = null;
    clearTimeout(this.waiting);
  }

  /** @param {Map<string, unknown>} changed */
  willUpdate(changed) {
    if (changed.has("url")) this.attempt(() => this.load());
  }

  /** Fetches what the URL names. `fresh()` of a later call tells an answer that came too late. */
  async load() {}

  /** Whether an event of the server, {type, id}, is about what this screen shows. @param {any} _event */
  concerns(_event) {
    return false;
  }

  /** A function that is true until the next load, or until another address came, which may not be shown yet. */
  token() {
    const round = this.round;
    const {pathname} = location;
    return () => round === this.round && pathname === location.pathname;
  }

  /** Runs `work`, as the load of a new round; an error is shown, with "try again". @param {() => Promise<unknown>} work */
  async attempt(work) {
    const round = ++this.round;
    clearTimeout(this.waiting);
    this.wake = null;
    this.problem = null;
    this.busy = true;
    try {
      await work();
    } catch (error) {
      if (round === this.round) this.fail(error, () => this.attempt(work));
    } finally {
      if (round === this.round) this.busy = false;
    }
  }

  /** Runs an action of the user; an error is shown, with "try again". @param {() => Promise<unknown>} work */
  async act(work) {
    const fresh = this.token();
    this.problem = null;
    try {
      return await work();
    } catch (error) {
      if (fresh()) this.fail(error, () => this.act(work));
      return undefined;
    }
  }

  /** @param {any} error @param {() => unknown} again */
  fail(error, again) {
    this.problem = typeof error?.message === "string" ? error : {kind: "Unexpected", message: String(error), advice: ""};
    this.again = again;
  }

  /**
   * Asks again and again until `ask` returns false: soon after an event about it, and else at growing intervals.
   * An error ends it, and is shown with "try again".
   * @param {() => Promise<boolean>} ask
   */
  async follow(ask) {
    const fresh = this.token();
    for (let turn = 0; fresh(); turn++) {
      try {
        if (!(await ask()) || !fresh()) return;
      } catch (error) {
        if (fresh()) this.fail(error, () => this.resume(ask));
        return;
      }
      const pause = POLL[Math.min(turn, POLL.length - 1)];
      await new Promise((resolve) => {
        this.waiting = window.setTimeout(() => resolve(undefined), pause);
        this.wake = () => {
          this.wake = null;
          turn = Math.min(turn, 1);
          clearTimeout(this.waiting);
          this.waiting = window.setTimeout(() => resolve(undefined), 100);
        };
      });
    }
  }

  /** @param {() => Promise<boolean>} ask */
  resume(ask) {
    this.problem = null;
    return this.follow(ask);
  }

  /**
   * Puts the focus on the first element that matches, once it is drawn, unless the user went on meanwhile.
   * @param {string} selector
   * @param {Element | null} [from] what had the focus when that was asked for: to be given by whoever waited for an answer
   */
  async focusOn(selector, from = document.activeElement) {
    await this.updateComplete;
    const found = /** @type {HTMLElement | null} */ (this.querySelector(selector));
    if (stayed(from)) found?.focus();
  }

  /** What the tab is called. */
  get name() {
    return "";
  }

  updated() {
    if (this.name) title(this.name);
  }

  /** The error, if there is one; drawn by each screen where it belongs. */
  trouble() {
    if (!this.problem) return nothing;
    return html`<rp-error .error=${this.problem} @retry=${() => this.again?.()}></rp-error>`;
  }

  /** @param {string} words */
  loading(words) {
    return html`<rp-loading .text=${words}></rp-loading>`;
  }
}

/** Esc in a field leaves the field (a search field is emptied first), and not the page with all that was typed. @param {KeyboardEvent} event */
function leaveField(event) {
  const field = /** @type {HTMLInputElement} */ (event.target);
  if (event.key !== "Escape" || !field.matches("input, select, textarea")) return;
  event.stopPropagation();
  if (field.type === "search" && field.value) return;
  /** @type {HTMLElement} */ (event.currentTarget).querySelector("h1")?.focus();
}

/** A bar from 0 to 1, or one without an end. @param {number | null | undefined} fraction @param {string} label */
export function bar(fraction, label) {
  return html`<progress aria-label=${label} max="1" value=${fraction ?? nothing}></progress>`;
}

/**
 * Moves the focus among the `[data-row]` of a list: arrows, Home and End. Keys of `actions` click the row's `[data-key]`.
 * @param {KeyboardEvent} event
 */
export function rowKeys(event) {
  const target = /** @type {HTMLElement} */ (event.target);
  const key = plainKey(event);
  if (!key) return;
  const list = /** @type {HTMLElement} */ (event.currentTarget);
  const rows = [...list.querySelectorAll("[data-row]")];
  const here = rows.findIndex((row) => row.contains(target));
  const next = {ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: rows.length - 1}[key];
  if (next !== undefined) {
    const row = rows[Math.max(0, Math.min(rows.length - 1, next))];
    const first = /** @type {HTMLElement | null} */ (row?.querySelector("[data-first]"));
    first?.focus();
    event.preventDefault();
    return;
  }
  if (here < 0 || key.length !== 1) return;
  const wanted = key === " " ? "space" : key;
  if (wanted === "space" && target.matches("button, input")) return;
  const action = /** @type {HTMLElement | null} */ (rows[here].querySelector(`[data-key="${CSS.escape(wanted)}"]`));
  if (action) {
    event.preventDefault();
    event.stopPropagation();
    action.click();
  }
}
