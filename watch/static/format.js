// Numbers and times as text: thousands separated, units named, UTC throughout. Pure functions.

export const NONE = "–";
const whole = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0 });
const fixed = [0, 1, 2, 3, 4, 5, 6].map(
  (digits) => new Intl.NumberFormat("en-GB", { minimumFractionDigits: digits, maximumFractionDigits: digits }),
);

/** Whether `value` is a number that can be shown. */
export const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

/** A count: 1,234,567. */
export const count = (value) => (isNumber(value) ? whole.format(value) : NONE);

/** A number with `digits` behind the point. */
export const decimal = (value, digits = 4) => (isNumber(value) ? fixed[digits].format(value) : NONE);

/** A rate without its unit, with about three figures: 0.42, 8.1, 812, 12,345. */
export function rate(value) {
  if (!isNumber(value)) return NONE;
  if (value === 0) return "0";
  if (value < 1) return fixed[2].format(value);
  return value < 20 ? fixed[1].format(value) : whole.format(value);
}

/** A share of one as per cent. */
export const percent = (value, digits = 0) => (isNumber(value) ? `${fixed[digits].format(value * 100)} %` : NONE);

/** Bytes as MiB or GiB. */
export function bytes(value) {
  if (!isNumber(value)) return NONE;
  return value < 2 ** 30 ? `${whole.format(value / 2 ** 20)} MiB` : `${fixed[1].format(value / 2 ** 30)} GiB`;
}

/** Seconds: 0.4 s, 12 s, 3 min 20 s, 2 h 05 min, 3 d 4 h. */
export function duration(seconds) {
  if (!isNumber(seconds)) return NONE;
  if (seconds < 10) return `${fixed[1].format(seconds)} s`;
  const rounded = Math.round(seconds);
  if (rounded < 60) return `${rounded} s`;
  const two = (value) => String(value).padStart(2, "0");
  if (rounded < 3600) return `${Math.floor(rounded / 60)} min ${two(rounded % 60)} s`;
  if (rounded < 86400) return `${Math.floor(rounded / 3600)} h ${two(Math.floor((rounded % 3600) / 60))} min`;
  return `${whole.format(Math.floor(rounded / 86400))} d ${Math.floor((rounded % 86400) / 3600)} h`;
}

/** A short span of time: 12 µs, 3.4 ms, 1.20 s. */
export function span(seconds) {
  if (!isNumber(seconds)) return NONE;
  if (seconds < 1e-3) return `${whole.format(seconds * 1e6)} µs`;
  if (seconds < 1) return `${fixed[1].format(seconds * 1e3)} ms`;
  return seconds < 60 ? `${fixed[2].format(seconds)} s` : duration(seconds);
}

/** The time of day in UTC, of milliseconds since 1970: 02:56:19.331. */
export function clock(milliseconds, digits = 3) {
  if (!isNumber(milliseconds)) return NONE;
  const text = new Date(milliseconds).toISOString();
  return text.slice(11, digits ? 20 + digits : 19);
}

/** Date and time of day in UTC. */
export function moment(milliseconds) {
  if (!isNumber(milliseconds)) return NONE;
  return `${new Date(milliseconds).toISOString().slice(0, 10)} ${clock(milliseconds)} UTC`;
}

/** `number` things: 1 actor, 12 actors. */
export const things = (number, name) => `${count(number)} ${name}${number === 1 ? "" : "s"}`;

/** What the level is called, of an OpenTelemetry severity number. */
export function level(severity) {
  if (severity >= 21) return "CRITICAL";
  if (severity >= 17) return "ERROR";
  if (severity >= 13) return "WARNING";
  return severity >= 9 ? "INFO" : "DEBUG";
}
