// Requests to the interface. Each returns what the answer's JSON says, or throws an ApiError.

/** An error of the interface, or of the way to it (`status` 0). */
export class ApiError extends Error {
  /** @param {string} kind @param {string} message @param {string} advice @param {number} status */
  constructor(kind, message, advice, status) {
    super(message);
    this.kind = kind;
    this.advice = advice;
    this.status = status;
  }
}

/**
 * @param {string} method
 * @param {string} path below /api/v1
 * @param {Record<string, string | number | boolean | null | undefined>} [params] of the query; without null, undefined
 * @param {unknown} [body]
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 */
async function request(method, path, params, body, signal) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params ?? {})) {
    if (value !== null && value !== undefined) query.set(name, typeof value === "boolean" ? (value ? "1" : "0") : String(value));
  }
  const url = "/api/v1" + path + (query.size ? "?" + query : "");
  /** @type {RequestInit} */
  const options = {method, signal, credentials: "same-origin", cache: "no-store"};
  if (method === "POST") {
    options.body = JSON.stringify(body ?? {});
    options.headers = {"Content-Type": "application/json"};
  }
  let answer;
  try {
    answer = await fetch(url, options);
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError("NoAnswer", "rpdrive does not answer", "see that `rpdrive browse` still runs", 0);
  }
  if (answer.status === 204) return null;
  let value;
  try {
    value = await answer.json();
  } catch {
    throw new ApiError("NoAnswer", "rpdrive's answer was cut off", "try again", answer.status);
  }
  if (!answer.ok) {
    const error = new ApiError(value.kind, value.message, value.advice, answer.status);
    if (answer.status === 401) document.dispatchEvent(new CustomEvent("rp-locked", {detail: error}));
    throw error;
  }
  return value;
}

/** @param {string} path @param {Record<string, any>} [params] @param {AbortSignal} [signal] */
export const get = (path, params, signal) => request("GET", path, params, undefined, signal);
/** @param {string} path @param {unknown} [body] @param {AbortSignal} [signal] */
export const post = (path, body, signal) => request("POST", path, undefined, body, signal);
/** @param {string} path @param {Record<string, any>} [params] */
export const del = (path, params) => request("DELETE", path, params);
