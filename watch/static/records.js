// Log records in memory: the newest ones, without a gap, at most LIMIT of them. Knows nothing of the page.
// The server numbers records one by one (`id`); a record's place is its id less the first one's.

export const LIMIT = 100000;
const SLACK = 4096; // dropped at once, so that dropping is rare
const MOST_TROUBLES = 2000;
const WARNING = 13;
const ERROR = 17;

/** One line of OpenTelemetry's log data model as this page needs it; `time` in milliseconds since 1970. */
export function record(line) {
  const resource = line.Resource ?? {};
  return {
    id: line.id,
    key: `${line.id} ${line.Timestamp}`,
    time: Date.parse(line.Timestamp),
    severity: line.SeverityNumber ?? 9,
    service: resource["service.name"] ?? "",
    instance: resource["service.instance.id"] ?? "",
    host: resource["host.name"] ?? "",
    logger: line.InstrumentationScope?.name ?? "",
    event: line.EventName ?? line.Body ?? "",
    attributes: line.Attributes ?? {},
    shown: "",
    searched: "",
  };
}

/** The record's own fields in one line: `unit=12 actor=actor-0`. */
export function fields(found) {
  if (!found.shown) {
    const own = Object.entries(found.attributes).filter(([key]) => key !== "log.record.number");
    found.shown = own.map(([key, value]) => `${key}=${one(value)}`).join("  ");
  }
  return found.shown;
}

function one(value) {
  const text = typeof value === "number" && !Number.isInteger(value) ? value.toPrecision(5) : String(value);
  const line = text.slice(0, 300).replaceAll("\n", " ⏎ ");
  return text.length > 300 ? `${line}…` : line;
}

function searched(found) {
  if (!found.searched) found.searched = `${found.event} ${fields(found)} ${found.logger} ${found.service}`.toLowerCase();
  return found.searched;
}

/** Whether a record passes a filter: `severity` at least, `service` exactly, all `words` (lower case) in it. */
export function passes(found, filter) {
  if (found.severity < filter.severity) return false;
  if (filter.service && found.service !== filter.service) return false;
  return filter.words.every((word) => searched(found).includes(word));
}

/** The buffer; `troubles` are the newest warnings and errors, also of before the buffer's first record. */
export class Records {
  list = [];
  first = 1; // id of list[0], or of the next record where there is none
  services = new Map(); // name → records held
  troubles = [];
  epoch = 0; // rises when ids begin to mean others

  /** The id that comes next. */
  get end() {
    return this.first + this.list.length;
  }

  at(id) {
    return this.list[id - this.first];
  }

  /** Forget everything; the next record may have any id. */
  clear() {
    [this.list, this.first, this.troubles] = [[], 1, []];
    this.services.clear();
    this.epoch += 1;
  }

  /** Add lines behind the others, the oldest first; false, and nothing is added, where some are missing between. */
  add(lines) {
    const fresh = lines.filter((line) => !this.list.length || line.id >= this.end);
    if (!fresh.length) return true;
    if (this.list.length && fresh[0].id !== this.end) return false;
    if (!this.list.length) this.first = fresh[0].id;
    for (const line of fresh) {
      const found = record(line);
      this.list.push(found);
      this.#enter(found);
      if (found.severity >= WARNING) this.troubles.push(found);
    }
    if (this.list.length > LIMIT + SLACK) this.#drop(this.list.length - LIMIT);
    if (this.troubles.length > 2 * MOST_TROUBLES) this.troubles = this.troubles.slice(-MOST_TROUBLES);
    return true;
  }

  /** Add the lines that come right before the others, the oldest first, as far as there is room; how many were. */
  addOlder(lines) {
    const room = Math.max(0, LIMIT - this.list.length);
    const found = lines.filter((line) => line.id < this.first).slice(room ? -room : lines.length).map(record);
    found.forEach((own) => this.#enter(own));
    this.first -= found.length;
    this.list = found.concat(this.list);
    return found.length;
  }

  /** Take what the server holds of warnings and errors, in any order. */
  addTroubles(lines) {
    const known = new Map(this.troubles.map((own) => [own.id, own]));
    for (const line of lines) if (!known.has(line.id)) known.set(line.id, record(line));
    this.troubles = [...known.values()].sort((one, other) => one.id - other.id).slice(-2 * MOST_TROUBLES);
  }

  /** Errors and worse among the troubles. */
  get errors() {
    return this.troubles.reduce((sum, own) => sum + (own.severity >= ERROR), 0);
  }

  #enter(found) {
    this.services.set(found.service, (this.services.get(found.service) ?? 0) + 1);
  }

  #drop(number) {
    for (const found of this.list.splice(0, number)) {
      const left = this.services.get(found.service) - 1;
      if (left) this.services.set(found.service, left);
      else this.services.delete(found.service);
    }
    this.first += number;
  }
}
