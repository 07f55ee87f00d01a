// Days as "2026-11-23" and months as "2026-11". Times of the server carry its own offset; their wall clock is shown as is.

const DAY = /^\d{4}-\d{2}-\d{2}$/;

/** @param {string | null} text */
export const isDay = (text) => text !== null && DAY.test(text) && !Number.isNaN(Date.parse(text));

/** @param {string} day */
const utc = (day) => new Date(`${day}T00:00:00Z`);
/** @param {Date} date */
const written = (date) => date.toISOString().slice(0, 10);

/** @param {string} day @param {number} count */
export function addDays(day, count) {
  const date = utc(day);
  date.setUTCDate(date.getUTCDate() + count);
  return written(date);
}

/** The same day of another month, or its last one. @param {string} day @param {number} count */
export function addMonths(day, count) {
  const date = utc(day);
  const wanted = date.getUTCDate();
  date.setUTCDate(1);
  date.setUTCMonth(date.getUTCMonth() + count);
  const last = new Date(Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + 1, 0)).getUTCDate();
  date.setUTCDate(Math.min(wanted, last));
  return written(date);
}

/** 0 for Monday. @param {string} day */
export const weekday = (day) => (utc(day).getUTCDay() + 6) % 7;

/** The weeks of a month, from Monday; null where a day belongs to another month. @param {string} month */
export function weeks(month) {
  const first = `${month}-01`;
  /** @type {(string | null)[]} */
  const cells = Array(weekday(first)).fill(null);
  for (let day = first; day.slice(0, 7) === month; day = addDays(day, 1)) cells.push(day);
  while (cells.length % 7) cells.push(null);
  return Array.from({length: cells.length / 7}, (_, week) => cells.slice(7 * week, 7 * week + 7));
}

/** @param {Intl.DateTimeFormatOptions} options */
const format = (options) => new Intl.DateTimeFormat("en-GB", {timeZone: "UTC", ...options});
const LONG = format({weekday: "long", day: "numeric", month: "long", year: "numeric"});
const MONTH = format({month: "long", year: "numeric"});
const SHORT = format({month: "short"});

/** "Monday 23 November 2026" @param {string} day */
export const longDay = (day) => LONG.format(utc(day)).replace(",", "");
/** "November 2026" @param {string} month */
export const longMonth = (month) => MONTH.format(utc(`${month}-01`));
/** "Nov" @param {string} month */
export const shortMonth = (month) => SHORT.format(utc(`${month}-01`)).slice(0, 3);
/** "09:12:59" of the machine's own clock @param {string} iso */
export const clock = (iso) => iso.slice(11, 19);
/** "UTC+01:00" @param {string} iso */
export const zone = (iso) => `UTC${iso.slice(19).replace("Z", "+00:00")}`;
/** Today, here. */
export function today() {
  const now = new Date();
  return `${now.getFullYear()}-${String(now.getMonth() + 1).padStart(2, "0")}-${String(now.getDate()).padStart(2, "0")}`;
}
