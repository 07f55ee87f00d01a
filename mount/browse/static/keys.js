// Keys. Letters and signs act without a modifier, so they can be switched off (WCAG 2.1.4); those for rows act only in the list.
import {basket} from "./basket.js";
import {go} from "./page.js";

/** Keys and what they do, as the help shows them: where, then keys and words. @type {[string, [string[], string][]][]} */
export const KEYS = [
  ["Everywhere", [
    [["?"], "help: these keys"],
    [["/"], "search"],
    [["g", "h"], "go to the start page"],
    [["g", "c"], "go to the calendar"],
    [["g", "s"], "go to the storage"],
    [["g", "j"], "go to the jobs"],
    [["g", "d"], "go to the drives"],
    [["g", "b"], "go to the basket"],
    [["Esc"], "close what is open, then go back"],
  ]],
  ["In a folder", [
    [["\u2191"], "row above"],
    [["\u2193"], "row below"],
    [["PgUp", "PgDn"], "a page up or down"],
    [["Home", "End"], "first or last row"],
    [["'"], "jump: then type how the name begins"],
    [["f"], "filter the names"],
    [["Enter"], "open the folder, or preview the file"],
    [["Backspace"], "the folder above"],
    [["Space"], "mark: put it into the basket, or take it out"],
    [["Shift", "\u2191 \u2193"], "mark several rows"],
    [["p"], "preview"],
    [["v"], "versions over all recovery points"],
    [["d"], "download it, or the basket if the row is marked"],
    [["r"], "restore it, or the basket if the row is marked"],
    [["["], "the recovery point before, same folder"],
    [["]"], "the recovery point after, same folder"],
  ]],
  ["In the calendar", [
    [["\u2190 \u2192", "\u2191 \u2193"], "a day, a week"],
    [["PgUp", "PgDn"], "a month; with Shift a year"],
    [["Enter"], "list the day's points"],
  ]],
  ["In hits, versions, changes and the basket", [
    [["\u2191", "\u2193"], "row above, row below"],
    [["Enter"], "open it"],
    [["v", "p", "d", "r"], "versions, preview, download, restore, where the row offers it"],
    [["Space"], "into the basket; tick a version"],
    [["x"], "take it out of the basket"],
    [["[", "]"], "the version before, the version after"],
  ]],
];

const KEY = "rpdrive-letters";

/** Whether letters and signs act. */
export function letters() {
  try {
    return localStorage.getItem(KEY) !== "off";
  } catch {
    return true;
  }
}

/** @param {boolean} on */
export function setLetters(on) {
  try {
    if (on) localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, "off");
  } catch {
    // without storage they stay on
  }
}

/** The key, or "" if it is for the browser, a field, or switched off. @param {KeyboardEvent} event */
export function plainKey(event) {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return "";
  const at = event.target;
  if (at instanceof HTMLElement && (at.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(at.tagName))) {
    const box = at instanceof HTMLInputElement && /^(checkbox|radio|button)$/.test(at.type);
    if (!box && event.key !== "Escape") return "";
  }
  if (event.key.length === 1 && event.key !== " " && !letters()) return "";
  return event.key;
}

/** @type {Record<string, string>} */
const GO = {h: "/", c: "/calendar", s: "/storage", j: "/jobs", d: "/drives", b: "/basket"};
let began = -Infinity; // when `g` was pressed (ms of the page)

/**
 * Act on keys that are for the whole page.
 * @param {() => void} help opens the help
 * @param {() => boolean} close closes what is open; false if nothing is
 */
export function listen(help, close) {
  const open = () => document.querySelector("dialog[open]");
  // What follows `g` comes here first: in a list it may be a key of its own.
  document.addEventListener("keydown", (event) => {
    const second = event.timeStamp - began < 1500;
    const key = plainKey(event);
    began = !open() && key === "g" && !second ? event.timeStamp : -Infinity;
    if (open() || (key !== "g" && !(second && GO[key]))) return;
    if (key !== "g") go(GO[key]);
    event.preventDefault();
    event.stopPropagation();
  }, true);
  document.addEventListener("keydown", (event) => {
    const key = plainKey(event);
    if (!key || open()) return;
    if (key === "?") help();
    else if (key === "/") go(/** @type {HTMLElement | null} */ (document.querySelector("[data-search]"))?.dataset.search ?? "/search");
    else if (key === "Escape" && close()) return;
    else if (key === "Escape" && history.state?.depth) history.back();
    else if (key === "Escape" && location.pathname !== "/") go("/");
    else return;
    event.preventDefault();
  });
}

/** What `d` and `r` act on: the whole basket if the row is in it. @param {boolean} marked */
export const wholeBasket = (marked) => marked && basket.size > 1;
