// A text to copy: a path or a command, with a button. Where the browser forbids copying, the text is selected instead.
import {html} from "../vendor/lit.js";

/** @param {string} label @param {string} text */
export function copyable(label, text) {
  return html`
    <p class="copyable">
      <span class="muted">${label}</span>
      <code>${text}</code>
      <button class="button" type="button" aria-label="Copy: ${label}" @click=${copy}><span>Copy</span></button>
    </p>`;
}

/** @param {Event} event */
async function copy(event) {
  const button = /** @type {HTMLElement} */ (event.currentTarget);
  const label = /** @type {HTMLElement} */ (button.firstElementChild);
  const code = /** @type {HTMLElement} */ (button.parentElement?.querySelector("code"));
  try {
    await navigator.clipboard.writeText(code.textContent ?? "");
    label.textContent = "Copied";
  } catch {
    getSelection()?.selectAllChildren(code);
    label.textContent = "Selected";
  }
  setTimeout(() => (label.textContent = "Copy"), 2000);
}
