import {LitElement, html} from "../vendor/lit.js";

/** What runs here. */
class RpAbout extends LitElement {
  static properties = {session: {attribute: false}, url: {attribute: false}};
  constructor() {
    super();
    /** @type {any} */
    this.session = null;
    /** @type {URL | null} */
    this.url = null;
  }
  createRenderRoot() {
    return this;
  }
  render() {
    return html`<h1>About</h1><p>rpdrive ${this.session.version} on ${this.session.hostname}</p>`;
  }
}
customElements.define("rp-about", RpAbout);
