// Elements that several screens use. All are in light DOM: one stylesheet serves them.
import {LitElement, html, nothing} from "./vendor/lit.js";

/** An error in words, and a way on. Fires `retry`. */
class RpError extends LitElement {
  static properties = {error: {attribute: false}};
  constructor() {
    super();
    /** @type {any} */
    this.error = null;
  }
  createRenderRoot() {
    return this;
  }
  render() {
    const error = this.error;
    if (!error) return nothing;
    return html`<div class="error" role="alert">
      <p><strong>${error.message}</strong></p>
      ${error.advice ? html`<p>${error.advice}</p>` : nothing}
      <button @click=${() => this.dispatchEvent(new CustomEvent("retry", {bubbles: true}))}>Try again</button>
    </div>`;
  }
}
customElements.define("rp-error", RpError);

/** Why there is nothing here. */
class RpEmpty extends LitElement {
  static properties = {why: {}};
  constructor() {
    super();
    this.why = "";
  }
  createRenderRoot() {
    return this;
  }
  render() {
    return html`<p class="empty">${this.why}</p>`;
  }
}
customElements.define("rp-empty", RpEmpty);
