// The folder screen: /point/{id}/{path64}?order&desc&filter&row
import {html, live, nothing} from "../vendor/lit.js";
import {get} from "../api.js";
import {basket} from "../basket.js";
import "../components.js";
import {download, downloadBasket, usual} from "../download.js";
import "../entry.js";
import "../grid.js";
import {plainKey, wholeBasket} from "../keys.js";
import {Listing} from "../listing.js";
import {Plain, go, note, on, query, say, title, to} from "../page.js";
import {ROOT, below, count, kind, number, parent, plain, shown, size, when} from "../text.js";

/** @typedef {import("../listing.js").Row} Row */

class RpFolder extends Plain {
  static properties = {url: {attribute: false}, listing: {state: true}, info: {state: true}, error: {state: true},
    problem: {state: true}, missing: {state: true}, jumping: {state: true}, row: {state: true}, more: {state: true},
    details: {state: true}};

  /** @type {Listing | null} */
  #loading = null;
  #settled = Promise.resolve(); // when what was asked for is shown
  /** @type {{path?: string, seek?: string, missing?: string}} for the address `path`: the name to make active, what wasn't there */
  #next = {};
  #index = -1; // the active row that the address doesn't have yet
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #later;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #typing;
  #days = 0; // how often a day was asked for
  #steps = 0; // of the grid, when the active row was last put somewhere by us
  /** @type {AbortController | undefined} */
  #jump;
  /** @type {() => void} */
  #unlisten = () => {};

  constructor() {
    super();
    /** @type {URL} */
    this.url = new URL(location.href);
    /** @type {Listing | null} */
    this.listing = null;
    /** @type {any} */
    this.info = null;
    /** @type {any} The folder can't be shown. */
    this.error = null;
    /** @type {any} Something else failed. */
    this.problem = null;
    this.missing = ""; // the path that isn't in this point
    this.jumping = false;
    this.more = false; // in a small window: other days are shown
    this.details = false; // in a small window: what is known of the active row is shown
    /** @type {Row | undefined} */
    this.row = undefined;
  }

  connectedCallback() {
    super.connectedCallback();
    const stops = [basket.listen(() => this.requestUpdate()), on("point", () => this.listing?.refresh())];
    this.#unlisten = () => stops.forEach((stop) => stop());
    window.addEventListener("rp-leave", this.#flush);
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    this.#unlisten();
    window.removeEventListener("rp-leave", this.#flush);
    clearTimeout(this.#later);
    clearTimeout(this.#typing);
    this.#loading?.stop();
  }

  /** @param {Map<string, unknown>} changed */
  willUpdate(changed) {
    if (changed.has("url")) this.#settled = this.#load();
  }

  get #place() {
    const [, , point, at] = this.url.pathname.split("/");
    const params = this.url.searchParams;
    const order = params.get("order") ?? "name"; // an address may have been typed
    return {point, at: at || ROOT, descend: !at, row: Math.max(0, Math.min(1e12, Math.floor(Number(params.get("row"))) || 0)),
      sight: {order: this.#columns.some(({key}) => key === order) ? order : "name", desc: params.get("desc") === "1",
        filter: params.get("filter") ?? ""}};
  }

  get #dayShown() {
    return this.listing?.head?.time?.slice(0, 10) ?? "";
  }

  /** @returns {any} */
  get #grid() {
    return this.querySelector("rp-grid");
  }

  async #load() {
    const {point, at, descend, sight, row} = this.#place;
    const {seek = "", missing = ""} = this.#next.path === this.url.pathname ? this.#next : {};
    const day = /** @type {HTMLInputElement | null} */ (this.querySelector("[type=date]:not(:focus)"));
    this.#next = {};
    if (day) day.value = this.#dayShown;
    if (this.listing && this.listing === this.#loading && this.listing.is(point, at, sight) && !this.error) {
      await this.#moveTo(row); // it may be active already, without the focus
      return;
    }
    const listing = new Listing(point, at, sight, descend);
    let partly = false; // it was shown while it was read, and had fewer names, in another order perhaps
    /** @type {string | undefined} */
    let moved; // to which of these names the user moved, if so, when the folder is whole
    this.#loading?.stop();
    this.#loading = listing;
    this.#index = -1;
    this.error = null;
    this.problem = null;
    this.missing = missing;
    clearTimeout(this.#typing);
    listing.addEventListener("change", () => {
      if (this.#loading !== listing || listing.head?.missing) return;
      if (listing.reading) partly = true;
      else if (partly) moved ??= this.#grid?.steps === this.#steps ? "" : this.row?.name;
      if (this.listing !== listing) this.#shows(listing, row);
      this.requestUpdate();
    });
    try {
      const head = await listing.open(row);
      if (this.#loading !== listing || location.pathname !== this.url.pathname) return; // or another address is about to be shown
      if (head.missing) this.#elsewhere(point, head.nearest ?? ROOT);
      else if (head.selected_at !== null || head.path64 !== at) { // a file's path, or a root with one folder in it
        const {order, desc, filter} = sight;
        history.replaceState(history.state, "", `${to.folder(point, head.path64)}${query({order: order === "name" ? null : order, desc, filter,
          row: head.selected_at || null})}`);
        this.url = new URL(location.href);
      }
      else {
        const steps = this.#grid?.steps;
        const found = moved || seek ? await listing.find(moved || seek) : -1;
        if (this.#loading !== listing || steps !== this.#grid?.steps) return; // or the user went on
        if (found >= 0) await this.#moveTo(found);
        else if (partly && !moved) await this.#moveTo(row);
      }
    } catch (error) {
      if (this.#loading === listing) this.error = error;
    }
  }

  /** This point doesn't have that path: show the nearest folder that it has. @param {string} point @param {string} nearest path64 */
  #elsewhere(point, nearest) {
    this.#next = {path: to.folder(point, nearest), missing: this.#place.at};
    say("That path is not in this recovery point. This is the nearest folder that is.");
    const {order, desc} = this.#place.sight;
    go(`${to.folder(point, nearest)}${query({order: order === "name" ? null : order, desc})}`, true);
  }

  /** The first rows have come. @param {Listing} listing @param {number} row */
  #shows(listing, row) {
    const before = this.listing;
    this.listing = listing;
    this.row = undefined;
    if (before?.point !== listing.point) {
      this.info = null;
      get(`/points/${listing.point}`).then((info) => {
        if (this.listing?.point === info.id) this.info = info;
      }, () => {}); // the folder says more than the point's names
    }
    if (before?.point !== listing.point || before?.at !== listing.at) {
      const head = listing.head;
      title(`${plain(head?.path ?? "")} at ${when(head?.time)}`);
    }
    this.#moveTo(row);
  }

  /** Make a row the active one once it is drawn, with the focus unless someone types in a box. @param {number} row */
  async #moveTo(row) {
    await this.updateComplete;
    const grid = this.#grid;
    if (!grid) return;
    await grid.updateComplete;
    this.#steps = grid.steps;
    grid.moveTo(row, {middle: true, step: false, focus: !this.querySelector("input:focus")});
  }

  // --- what the grid tells -------------------------------------------------------------------------------------------------

  /** @param {CustomEvent<{row: Row, index: number}>} event */
  #activated({detail}) {
    this.row = detail.row;
    clearTimeout(this.#later);
    if (this.listing?.reading && this.#grid?.steps === this.#steps) return; // the address has the row that is still to come
    this.#index = detail.index;
    this.#later = setTimeout(this.#flush, 400); // browsers refuse more than some 100 changes of the address in 30 s
  }

  #flush = () => {
    clearTimeout(this.#later);
    if (this.#index >= 0 && this.listing === this.#loading && location.pathname === this.url.pathname) note({row: this.#index || null});
    this.#index = -1;
  };

  /** @param {CustomEvent<{rows: Row[], on: boolean}>} event */
  #mark({detail: {rows, on}}) {
    const listing = /** @type {Listing} */ (this.listing);
    const {point, at, head} = listing;
    const places = rows.map((row) => ({point, at: below(at, row), name: row.name, name_bytes: row.name_bytes, kind: row.kind,
      size: row.size, path: `${head?.path === "/" ? "" : head?.path}/${row.name}`, time: head?.time ?? "", item_name: this.info?.item_name}));
    if (!on) basket.remove(...places);
    else if (!basket.add(...places)) say("The basket is full: mark the folder instead");
    say(`${on ? "Marked" : "Unmarked"}; ${count(basket.size, "place")} in the basket`);
  }

  /** @param {Row | undefined} row */
  #open(row) {
    const {point, at} = /** @type {Listing} */ (this.listing);
    if (row) go(row.kind === "folder" ? to.folder(point, below(at, row)) : to.preview(point, below(at, row)));
  }

  /** @param {CustomEvent<{key: string, desc: boolean}>} event */
  #order({detail: {key, desc}}) {
    this.#see({order: key === "name" ? null : key, desc});
  }

  /** The same folder in another order, or with another filter. @param {Record<string, string | boolean | null>} params */
  #see(params) {
    const path = this.url.pathname;
    if (location.pathname !== path) return; // another folder is about to be shown
    clearTimeout(this.#later);
    this.#next = {path, seek: this.row?.name};
    this.#index = -1;
    note({...params, row: null});
    this.url = new URL(location.href);
  }

  /** Another point, at the same path. @param {string | null | undefined} point @param {string} none */
  #point(point, none) {
    if (!point) {
      say(none);
      this.problem = {kind: "No such point", message: none};
      return;
    }
    const {order, desc, filter} = this.#place.sight;
    const path = to.folder(point, this.#place.at);
    this.#next = {path, seek: this.row?.name};
    go(`${path}${query({order: order === "name" ? null : order, desc, filter})}`);
  }

  #earlier = () => this.#point(this.listing?.head?.previous, "There is no earlier recovery point");
  #later_ = () => this.#point(this.listing?.head?.next, "There is no later recovery point");

  /** The last point of a day, or the last before it. @param {SubmitEvent} event */
  async #day(event) {
    event.preventDefault();
    const box = /** @type {HTMLInputElement} */ (this.querySelector("input[type=date]"));
    const day = box.value;
    box.blur(); // also if there are no names, which have the focus from now on
    this.#grid?.focusRow();
    const head = this.listing?.head;
    const asked = ++this.#days;
    const path = location.pathname;
    if (!day || !head) return;
    await this.#try(async () => {
      const {points} = await get("/points", {machine: head.machine, item: head.item, to: `${day}T23:59:59${head.time?.slice(19) ?? "Z"}`, count: 1});
      if (asked !== this.#days || path !== location.pathname) return; // whoever asked went on
      if (points[0]?.id === head.point) say("That is the recovery point shown");
      else this.#point(points[0]?.id, `There is no recovery point on ${day} or before`);
    });
  }

  /** Do something; what goes wrong is shown above the names. @param {() => Promise<unknown>} act */
  async #try(act) {
    this.problem = null;
    try {
      await act();
    } catch (error) {
      this.problem = error;
    }
  }

  #up() {
    const up = parent(this.#place.at);
    if (!up) return;
    const path = to.folder(this.#place.point, up.folder);
    this.#next = {path, seek: up.name};
    go(path);
  }

  /** @param {KeyboardEvent} event */
  async #key(event) {
    const key = plainKey(event);
    const at = event.target;
    if (event.shiftKey || !(at instanceof HTMLElement) || !at.matches(".grid-row") || !(key in this.#keys)) return;
    event.preventDefault();
    await this.#settled; // a key means the folder that was asked for, which may still be on its way
    if (this.isConnected && this.listing?.head && this.listing === this.#loading) await this.#keys[key](this.listing.head);
  }

  /** @type {Record<string, (head: import("../listing.js").FolderPage) => unknown>} */
  #keys = {
    Backspace: () => this.#up(),
    f: () => /** @type {HTMLElement} */ (this.querySelector(".filter")).focus(),
    "'": () => (this.jumping = true),
    "[": () => this.#earlier(),
    "]": () => this.#later_(),
    p: () => this.#path && go(to.preview(this.#place.point, this.#path)),
    v: (head) => this.#path && go(to.versions(head.machine, head.item, this.#path)),
    r: () => this.#path && go(this.#whole ? "/restore" : to.restore(this.#place.point, this.#path)),
    d: () => this.#path && this.#try(() => (this.#whole ? downloadBasket("tar")
      : download(this.#place.point, this.#path, usual(this.row?.kind ?? "")))),
  };

  /** The active row, as path64, or "". */
  get #path() {
    return this.listing && this.row ? below(this.listing.at, this.row) : "";
  }

  /** Whether keys for the active row mean the basket. */
  get #whole() {
    return wholeBasket(basket.has(this.#place.point, this.#path));
  }

  // --- filter and jump -------------------------------------------------------------------------------------------------------

  /** @param {Event} event */
  #filter(event) {
    const filter = /** @type {HTMLInputElement} */ (event.target).value;
    clearTimeout(this.#typing);
    this.#typing = setTimeout(() => this.#narrow(filter), 200);
  }

  /** @param {string} filter */
  #narrow(filter) {
    clearTimeout(this.#typing);
    if (filter !== this.#place.sight.filter) this.#see({filter});
  }

  /** @param {KeyboardEvent} event */
  #filterKey(event) {
    const box = /** @type {HTMLInputElement} */ (event.target);
    if (!["Enter", "ArrowDown", "Escape"].includes(event.key)) return;
    if (event.key === "Escape") box.value = "";
    this.#narrow(box.value);
    event.preventDefault();
    this.#grid?.focusRow();
  }

  /** @param {Event} event */
  async #jumped(event) {
    const prefix = /** @type {HTMLInputElement} */ (event.target).value;
    this.#jump?.abort();
    this.#jump = new AbortController();
    const {signal} = this.#jump;
    const listing = this.listing;
    if (!prefix || !listing) return;
    try {
      const from = await listing.rank(prefix, signal);
      if (!signal.aborted && listing === this.listing) this.#grid?.moveTo(from, {focus: false, middle: true});
    } catch (error) {
      if (!signal.aborted) this.problem = error;
    }
  }

  /** @param {KeyboardEvent | FocusEvent} event */
  #jumpEnd(event) {
    if (event instanceof KeyboardEvent) {
      if (!["Enter", "Escape", "ArrowDown", "ArrowUp"].includes(event.key)) return;
      event.preventDefault();
      this.#grid?.focusRow();
    }
    this.jumping = false;
  }

  updated() {
    if (this.jumping) /** @type {HTMLElement | null} */ (this.querySelector(".jump"))?.focus();
  }

  // --- the page -----------------------------------------------------------------------------------------------------------------

  render() {
    const listing = this.listing;
    const head = listing?.head;
    if (!listing || !head) {
      return this.error ? html`<h1>Folder</h1><rp-error .error=${this.error} @retry=${() => (this.#settled = this.#load())}></rp-error>`
        : html`<h1 class="visually-hidden">Folder</h1><rp-loading .text=${"Opening the folder\u2026"}></rp-loading>`;
    }
    const {point, at, sight} = listing;
    const typing = /** @type {HTMLInputElement | null} */ (this.querySelector(".filter:focus")); // it knows better than the address
    const item = this.info?.item_name ? `${plain(this.info.machine_name)}: ${plain(this.info.item_name)}` : "";
    const parts = [...head.above.map((part) => ({...part, name: part.name || "/", href: to.folder(point, part.path64)})),
      {name: head.path === "/" ? "/" : head.path.slice(head.path.lastIndexOf("/") + 1), href: to.folder(point, at)}];
    const unique = parts.filter((part, i) => i === parts.length - 1 || part.href !== parts[parts.length - 1].href);
    return html`<div class="folder" data-search=${`/search${query({point, machine: head.machine, item: head.item, below: at})}`}>
      <h1 class="visually-hidden">${plain(head.path)} at ${when(head.time)}</h1>
      <div class="folder-head">
        <rp-path .parts=${unique}></rp-path>
        <div class="bar">
          <button class="button" type="button" aria-label="Earlier recovery point" title="Earlier recovery point ( [ )"
            aria-disabled=${!head.previous} @click=${this.#earlier}>\u2190</button>
          <strong class="nowrap"><rp-time .iso=${head.time}></rp-time></strong>
          <button class="button" type="button" aria-label="Later recovery point" title="Later recovery point ( ] )"
            aria-disabled=${!head.next} @click=${this.#later_}>\u2192</button>
          <button class="button small-only" type="button" aria-expanded=${this.more} aria-controls="other-days"
            @click=${() => (this.more = !this.more)}>Other days</button>
          <div id="other-days" class="bar ${this.more ? "" : "wide-only"}">
            <form class="field-line" @submit=${this.#day}><label class="field-line">Day <input type="date" required
              .value=${this.#dayShown}></label><button class="button" title="Show the last point of that day, or the last before it">Go</button></form>
            <a href=${`/calendar${query({machine: head.machine, item: head.item})}`}>Calendar</a>
            <span class="muted">${item}</span>
          </div>
        </div>
        <div class="bar">
          <label class="field-line filter-line">Filter <input type="search" class="filter grow" .value=${typing ? typing.value : live(this.#place.sight.filter)} autocomplete="off"
            spellcheck="false" @input=${this.#filter} @keydown=${this.#filterKey}></label>
          ${this.jumping ? html`<label class="field-line">Jump to <input type="text" class="jump" autocomplete="off" spellcheck="false"
            @input=${this.#jumped} @keydown=${this.#jumpEnd} @blur=${this.#jumpEnd}></label>` : nothing}
          <span class="muted" role="status">${listing.reading
            ? `Reading: ${number(head.read)} names`
            : sight.filter ? `${number(head.shown)} of ${count(head.total, "name")}` : count(head.total, "name")}</span>
          ${basket.size ? html`<a href="/basket">${count(basket.size, "place")} in the basket</a>` : nothing}
        </div>
        ${this.missing ? html`<div class="notice warning"><p>That path is not in this recovery point. This is the nearest folder
          that is.</p></div>` : nothing}
        <rp-error .error=${this.error} @retry=${() => (this.#settled = this.#load())}></rp-error>
        <rp-error .error=${this.problem} .final=${true}></rp-error>
        ${head.problems.length ? html`<div class="notice warning" role="status"><p>Not all of this folder can be read:
          ${head.problems.slice(0, 3).map((each) => html`${shown(each)} `)}</p></div>` : nothing}
        <rp-error .error=${listing.error} @retry=${() => {
          listing.again();
          this.#grid?.focusRow(); // the button that had the focus goes
        }}></rp-error>
      </div>
      <div class="folder-body">
        <div class="folder-names">
          ${head.shown || listing.reading ? nothing : html`<rp-empty
            .why=${sight.filter ? html`No name here contains ${shown(sight.filter)}.` : "This folder is empty in this recovery point."}
            .advice=${sight.filter ? html`<button class="button" type="button" @click=${() => this.#see({filter: null})}>Show all names</button>`
              : nothing}></rp-empty>`}
          <rp-grid ?hidden=${!head.shown && !listing.reading} .source=${listing} .columns=${this.#columns} .order=${sight.order}
            .desc=${sight.desc} .label=${`Names in ${plain(head.path)}`} .marked=${this.#marked} @keydown=${this.#key}
            @rp-active=${this.#activated} @rp-mark=${this.#mark} @rp-order=${this.#order}
            @rp-open=${(/** @type {CustomEvent} */ event) => this.#open(event.detail.row)}></rp-grid>
        </div>
        <aside class="pane" aria-label="The active row">${this.row && head.shown
          ? html`<button class="button small-only wide" type="button" aria-expanded=${this.details} @click=${() =>
              (this.details = !this.details)}><span class="cut">${this.details ? "Less about" : "More about"} ${shown(this.row.name,
                this.row.name_bytes)}</span></button>
            <rp-entry class=${this.details ? "" : "wide-only"} .point=${point} .at=${below(at, this.row)} .row=${this.row}
              .machine=${head.machine} .item=${head.item}
              .mark=${(/** @type {boolean} */ on) => this.#mark(/** @type {any} */ ({detail: {rows: [this.row], on}}))}></rp-entry>`
          : nothing}</aside>
      </div>
    </div>`;
  }

  /** @param {Row} row */
  #marked = (row) => Boolean(this.listing) && basket.has(this.listing?.point ?? "", below(this.listing?.at ?? "", row));

  #columns = [
    {key: "name", label: "Name", sort: true, cell: (/** @type {Row} */ row) => this.#name(row)},
    {key: "size", label: "Size", sort: true, cell: (/** @type {Row} */ row) =>
      (row.kind === "file" || row.kind === "folder" ? size(row.size) : "")},
    {key: "time", label: "Changed", sort: true, cell: (/** @type {Row} */ row) => when(row.time)},
    {key: "kind", label: "Kind", sort: true, cell: (/** @type {Row} */ row) => kind(row.kind)},
  ];

  /** @param {Row} row */
  #name(row) {
    const {point, at} = /** @type {Listing} */ (this.listing);
    const path = below(at, row);
    const href = row.kind === "folder" ? to.folder(point, path) : to.preview(point, path);
    return html`<span class="icon icon-${row.kind}" aria-hidden="true"></span><a href=${href} tabindex="-1"
      class=${row.hidden ? "muted" : ""}>${shown(row.name, row.name_bytes)}</a>${row.target
        ? html`<span class="muted"> \u2192 ${shown(row.target)}</span>` : nothing}`;
  }
}

customElements.define("rp-folder", RpFolder);
