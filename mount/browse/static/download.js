// Downloads: a signed address of the contents, which the browser then fetches by itself.
import {post} from "./api.js";
import {basket} from "./basket.js";
import {say} from "./page.js";

/** @param {string} url */
function fetchBy(url) {
  const link = document.createElement("a");
  link.href = url;
  link.download = "";
  link.rel = "noreferrer";
  document.body.append(link);
  link.click();
  link.remove();
}

/**
 * Download one place: a file as it is, a folder as an archive. Raises ApiError.
 * @param {string} point
 * @param {string} at path64
 * @param {"attachment" | "tar" | "zip"} as
 */
export async function download(point, at, as) {
  const {url, name} = await post(`/points/${point}/link`, {at, as});
  say(`Downloading ${name}`);
  fetchBy(url);
}

/** Download the basket as an archive. Raises ApiError. @param {"tar" | "zip"} as */
export async function downloadBasket(as) {
  const {url, name} = await post("/basket/link", {places: basket.places(), as});
  say(`Downloading ${name}`);
  fetchBy(url);
}

/** How an entry is downloaded unless the user says otherwise. @param {string} kind @returns {"attachment" | "tar"} */
export const usual = (kind) => (kind === "folder" ? "tar" : "attachment");
