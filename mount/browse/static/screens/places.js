// Paths as the server wants them (base64url of raw bytes), typed by hand or taken apart; and addresses of screens.
import {query} from "../page.js";
import {ROOT, base64url, bytesOf} from "../text.js";

/** A typed path, without slashes that say nothing. @param {string} path */
export function path64Of(path) {
  return base64url(new TextEncoder().encode(tidy(path)));
}

/** @param {string} path */
export const tidy = (path) => path.trim().replace(/\/{2,}/g, "/").replace(/(?<=.)\/$/, "");

/** A path as text; bytes that aren't UTF-8 become U+FFFD. @param {string} path64 */
export function textOf(path64) {
  try {
    return new TextDecoder().decode(bytesOf(path64));
  } catch {
    return "";
  }
}

/** @param {string} path64 a folder @param {string} rest names below it */
export function behind(path64, rest) {
  const folder = bytesOf(path64);
  const more = new TextEncoder().encode(rest);
  const slash = folder.at(-1) === 0x2f ? [] : [0x2f];
  return base64url(Uint8Array.from([...folder, ...slash, ...more]));
}

/** @param {string | null} before @param {string | null} after @param {string | null} [at] */
export const comparePage = (before, after, at) => `/compare${query({before, after, at: at === ROOT ? null : at})}`;
/** @param {Record<string, string | null | undefined>} values */
export const calendarPage = (values) => `/calendar${query(values)}`;
