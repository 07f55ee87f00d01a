// Downloads: a signed address of the contents, which the browser then fetches by itself.
import {html} from "./vendor/lit.js";
import {get, post} from "./api.js";
import {basket} from "./basket.js";
import {on, say, to} from "./page.js";
import {shown} from "./text.js";

const LASTING = 600_000; // ms: an archive of very many entries begins late

/**
 * Fetch it in a frame that nobody sees: if contents can't be read, the answer is a page of text, and must not replace ours.
 * @param {string} url
 * @param {string} name
 */
function fetchBy(url, name) {
  const frame = document.createElement("iframe");
  frame.hidden = true;
  frame.title = "Download";
  frame.src = url;
  // Only what is shown is loaded; a download leaves the frame as it was.
  frame.addEventListener("load", () => {
    frame.remove();
    document.dispatchEvent(new CustomEvent("rp-download-failed", {detail: {name, url}}));
    look().catch(() => {});
  });
  document.body.append(frame);
  setTimeout(() => frame.remove(), LASTING);
}

/** Downloads that are known to have broken off. @type {Set<string> | null} */
let known = null;

/** Tell the frame of downloads that broke off since this tab began its first one: the browser does not say why. */
async function look() {
  const first = !known;
  const seen = (known ??= new Set());
  const {downloads} = await get("/downloads");
  for (const {id, name, problem, state} of downloads) {
    if (state !== "cut" || seen.has(id)) continue;
    seen.add(id);
    if (!first) document.dispatchEvent(new CustomEvent("rp-download-failed", {detail: {name, problem}}));
  }
  if (first) on("job", () => look().catch(() => {}));
}

/**
 * Download one place: a file as it is, a folder as an archive. Raises ApiError.
 * @param {string} point
 * @param {string} at path64
 * @param {"attachment" | "tar" | "zip"} as
 */
export async function download(point, at, as) {
  const link = await post(`/points/${point}/link`, {at, as});
  await begin(link, to.restore(point, at), `/drives?point=${point}`);
}

/** Download the basket as an archive. Raises ApiError. @param {"tar" | "zip"} as */
export async function downloadBasket(as) {
  await begin(await post("/basket/link", {places: basket.places(), as}), "/restore?from=basket", "/drives");
}

/**
 * Begin a download, after asking about one that is better done otherwise.
 * @param {{url: string, name: string, advise: string | null}} link
 * @param {string} restore the address of the screen that restores the same
 * @param {string} drive the address of the screen that opens it as a drive
 */
async function begin({url, name, advise}, restore, drive) {
  if (advise && !(await asked(name, advise, restore, drive))) return;
  if (!known) await look().catch(() => {}); // it is downloaded all the same
  say(`Downloading ${name}`);
  fetchBy(url, name);
}

/**
 * Whether a large archive is wanted all the same.
 * @param {string} name
 * @param {string} advise
 * @param {string} restore
 * @param {string} drive
 * @returns {Promise<boolean>}
 */
function asked(name, advise, restore, drive) {
  return new Promise((resolve) => {
    const dialog = /** @type {any} */ (document.createElement("rp-dialog"));
    const end = (/** @type {boolean} */ answer) => {
      resolve(answer);
      dialog.remove();
    };
    const ways = [html`<a class=${advise === "restore" ? "button primary" : "button"} href=${restore} @click=${() => end(false)}>Restore instead</a>`,
      html`<a class=${advise === "drive" ? "button primary" : "button"} href=${drive} @click=${() => end(false)}>Open a drive instead</a>`];
    if (advise === "drive") ways.reverse();
    dialog.heading = "A large download";
    dialog.content = html`<div class="stack"><p>${shown(name)} is more than 10 GiB or 100,000 entries. A restore checks what it writes, and goes on by
      itself; on a drive you read only what you need.</p>
      <div class="bar">${ways}<button class="button" type="button" @click=${() => end(true)}>Download all the same</button></div></div>`;
    dialog.addEventListener("rp-close", () => end(false));
    document.body.append(dialog);
    dialog.open = true;
  });
}

/** How an entry is downloaded unless the user says otherwise. @param {string} kind @returns {"attachment" | "tar"} */
export const usual = (kind) => (kind === "folder" ? "tar" : "attachment");
