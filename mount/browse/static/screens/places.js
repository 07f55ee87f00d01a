// Addresses of pages, and paths as the server wants them: base64url of the raw bytes, without "=".

export const ROOT = "Lw";

/** @param {Uint8Array} bytes */
export function encode64(bytes) {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

/** @param {string} path64 @returns {Uint8Array} */
export function decode64(path64) {
  const text = atob(path64.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(text, (c) => c.charCodeAt(0));
}

/** A typed path. @param {string} path */
export function path64Of(path) {
  return encode64(new TextEncoder().encode(path));
}

/** A path as text; bytes that aren't UTF-8 become U+FFFD. @param {string} path64 */
export function textOf(path64) {
  try {
    return new TextDecoder().decode(decode64(path64));
  } catch {
    return "";
  }
}

/** @param {string} path64 a folder @param {string} rest names below it */
export function below(path64, rest) {
  const folder = decode64(path64);
  const more = new TextEncoder().encode(rest);
  const slash = folder.at(-1) === 0x2f ? [] : [0x2f];
  return encode64(Uint8Array.from([...folder, ...slash, ...more]));
}

/** The folder that an entry is in. @param {string} path64 */
export function above(path64) {
  const bytes = decode64(path64);
  const cut = bytes.lastIndexOf(0x2f);
  return cut <= 0 ? ROOT : encode64(bytes.subarray(0, cut));
}

/** @param {string} base @param {Record<string, string | number | boolean | null | undefined>} values */
function query(base, values) {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    if (value !== null && value !== undefined && value !== "" && value !== false) search.set(name, String(value));
  }
  const text = search.toString();
  return text ? `${base}?${text}` : base;
}

/** @param {string} point @param {string} [path64] */
export const pointPage = (point, path64) => (path64 && path64 !== ROOT ? `/point/${point}/${path64}` : `/point/${point}`);
/** @param {string} machine @param {string} item @param {string} path64 */
export const versionsPage = (machine, item, path64) => `/versions/${machine}/${item}/${path64}`;
/** @param {string} point @param {string} path64 */
export const previewPage = (point, path64) => `/preview/${point}/${path64}`;
/** @param {string} point @param {string} path64 */
export const restorePage = (point, path64) => query("/restore", {point, at: path64});
/** @param {string | null} before @param {string | null} after @param {string | null} [at] */
export const comparePage = (before, after, at) => query("/compare", {before, after, at});
/** @param {Record<string, string | number | boolean | null | undefined>} values */
export const calendarPage = (values) => query("/calendar", values);
/** @param {Record<string, string | number | boolean | null | undefined>} values */
export const searchPage = (values) => query("/search", values);
