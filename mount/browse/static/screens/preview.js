// The preview screen: /preview/{point}/{path64}?as=hex&from
import {html, nothing} from "../vendor/lit.js";
import {get} from "../api.js";
import {basket} from "../basket.js";
import "../components.js";
import "../entry.js";
import {Plain, go, title, to} from "../page.js";
import {ROOT, parent, plain, shown} from "../text.js";
import "../viewer.js";

class RpPreview extends Plain {
  static properties = {url: {attribute: false}, info: {state: true}, of: {state: true}, error: {state: true}};

  constructor() {
    super();
    /** @type {URL} */
    this.url = new URL(location.href);
    /** @type {any} The entry. */
    this.info = null;
    /** @type {any} Its recovery point. */
    this.of = null;
    /** @type {any} */
    this.error = null;
  }

  get #place() {
    const [, , point, at] = this.url.pathname.split("/");
    return {point, at: at || ROOT};
  }

  /** @param {Map<string, unknown>} changed */
  async willUpdate(changed) {
    if (!changed.has("url")) return;
    const {point} = this.#place;
    const name = parent(this.#place.at)?.name ?? "/";
    title(`${plain(name)} (preview)`);
    if (this.of?.id === point) return;
    this.of = null;
    try {
      this.of = await get(`/points/${point}`);
    } catch (error) {
      this.error = error;
    }
  }

  /** @param {boolean} on */
  #mark = (on) => {
    const {point, at} = this.#place;
    const info = this.info;
    if (!on) basket.remove({point, at});
    else if (info) basket.add({point, at, name: info.name, name_bytes: info.name_bytes, path: info.path, kind: info.kind, size: info.size,
      time: this.of?.time ?? "", item_name: this.of?.item_name});
  };

  /** @param {CustomEvent<any>} event */
  #known({detail}) {
    this.info = detail;
    if (detail.kind === "folder" && location.pathname === this.url.pathname) go(to.folder(this.#place.point, this.#place.at), true);
  }

  render() {
    const {point, at} = this.#place;
    const up = parent(at);
    const name = up?.name ?? "/";
    const params = this.url.searchParams;
    return html`<div class="stack">
      <h1>${shown(name, this.info?.path64 === at ? this.info.name_bytes : null)}</h1>
      <div class="bar">
        <a href=${to.folder(point, at)}>Its folder</a>
        ${this.of ? html`<span>at <rp-time .iso=${this.of.time}></rp-time></span>
          <span class="muted">${shown(this.of.machine_name)}: ${shown(this.of.item_name)}</span>` : nothing}
      </div>
      <rp-error .error=${this.error} .final=${true}></rp-error>
      <div class="preview-body">
        <section class="grow" aria-label="Contents"><rp-viewer .point=${point} .at=${at} .name=${plain(name)} .as=${params.get("as") ?? ""}
          .from=${Number(params.get("from")) || 0}></rp-viewer></section>
        <section class="pane" aria-label="About this file"><rp-entry .whole=${true} .point=${point} .at=${at} .machine=${this.of?.machine ?? ""}
          .item=${this.of?.item ?? ""} .mark=${this.#mark} @rp-info=${this.#known}></rp-entry></section>
      </div>
    </div>`;
  }
}

customElements.define("rp-preview", RpPreview);
