// The difference of one path's text between two points, line by line.
import {html, nothing} from "../vendor/lit.js";
import {get} from "../api.js";
import {Plain} from "../page.js";
import {count} from "../text.js";

/** @type {Record<string, [string, string]>} */
const LINES = {"+": ["added", "+"], "-": ["removed", "−"], " ": ["", " "]};

class TextDiff extends Plain {
  static properties = {
    older: {attribute: false},
    newer: {attribute: false},
    at: {attribute: false},
    answer: {state: true},
    problem: {state: true},
  };

  constructor() {
    super();
    this.older = "";
    this.newer = "";
    this.at = "";
    /** @type {any} */
    this.answer = null;
    /** @type {any} */
    this.problem = null;
  }

  /** @param {Map<string, unknown>} changed */
  willUpdate(changed) {
    if (changed.has("older") || changed.has("newer") || changed.has("at")) this.load();
  }

  async load() {
    const asked = `${this.older} ${this.newer} ${this.at}`;
    const late = () => asked !== `${this.older} ${this.newer} ${this.at}`;
    this.answer = null;
    this.problem = null;
    try {
      const answer = await get("/diff", {before: this.older, after: this.newer, at: this.at});
      if (!late()) this.answer = answer;
    } catch (error) {
      if (!late()) this.problem = error;
    }
  }

  render() {
    if (this.problem) return html`<rp-error .error=${this.problem} @retry=${() => this.load()}></rp-error>`;
    const answer = this.answer;
    if (!answer) return html`<p class="muted" role="status">Comparing the two texts…</p>`;
    if (answer.same) return html`<p role="status">The contents are the same.</p>`;
    if (answer.too_large) return html`<p role="status">The contents differ, but are over 1 MiB: too large to show line by line.</p>`;
    if (answer.binary) return html`<p role="status">The contents differ. They are not text, so there are no lines to show.</p>`;
    const added = answer.lines.filter((/** @type {any} */ line) => line.op === "+").length;
    const removed = answer.lines.filter((/** @type {any} */ line) => line.op === "-").length;
    return html`
      <p role="status">${count(added, "line", "lines")} added, ${count(removed, "line", "lines")} removed${
        answer.left_out ? html`; ${count(answer.left_out, "line")} more are not shown` : nothing}.</p>
      <div class="diff" tabindex="0" role="region" aria-label="Difference, line by line">
        <table>
          <thead class="visually-hidden"><tr><th scope="col">Line before</th><th scope="col">Line after</th><th scope="col">Text</th></tr></thead>
          <tbody>${answer.lines.map((/** @type {any} */ line) => this.line(line))}</tbody>
        </table>
      </div>`;
  }

  /** @param {any} line */
  line(line) {
    const known = LINES[line.op];
    if (!known) return html`<tr class="gap"><td colspan="3">⋯ <span class="visually-hidden">lines left out</span></td></tr>`;
    const [word, sign] = known;
    const text = html`<span class="op" aria-hidden="true">${sign}</span>${word
      ? html`<span class="visually-hidden">${word}: </span>` : nothing}<code>${line.text}</code>`;
    return html`<tr class=${word || "same"}>
      <td class="line">${line.a ?? ""}</td><td class="line">${line.b ?? ""}</td><td>${text}</td></tr>`;
  }
}

customElements.define("rp-text-diff", TextDiff);
