"use strict";
// Calls Airflow's REST API with the session of its user, and draws the asset events of EngagementsToS3Operator.
// What the API returns is text: it gets into the page through append() and properties, never as markup.

const AIRFLOW = new URL("../", document.baseURI);
const CONNECTIONS = 6, MOST_GAPS = 5_000, MOST_NAMED = 3, LEVELS = 5, KINDS = ["bad", "late", "good"];
const HOUR = 3_600_000, DAY = 24 * HOUR;
const UNITS = { hour: HOUR, day: DAY, week: 7 * DAY, month: 30 * DAY };
const PROBLEMS = {
  missing: { sign: "✕", meaning: "There is no object for it." },
  short: { sign: "↓", meaning: "Zoom counts more engagements than the object holds." },
  untracked: { sign: "?", meaning: "The object is not the one that was written, or it has no manifest." },
};
const FAILURES = {
  401: "Your session has ended. Log in again.",
  403: "You may not read assets. Ask an administrator of Airflow for this permission.",
};

// Airflow's API

async function get(path, query) {
  const url = new URL(`api/v2/${path}`, AIRFLOW);
  url.search = new URLSearchParams(query);
  const response = await fetch(url), { ok, status } = response;
  if (!ok) throw Object.assign(new Error(`Airflow's API returned ${status} for ${path}.`), { status });
  return response.json();
}

async function inParallel(what, items, work) {
  const results = [], queue = items.entries();
  let done = 0;
  const worker = async () => {
    for (const [number, item] of queue) {
      results[number] = await work(item);
      progress(what, ++done, items.length);
    }
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, worker));
  return results;
}

// A page has as many entries as [api] maximum_page_limit allows, 100 by default, whatever is requested.
async function all(path, name, query) {
  const first = await get(path, { limit: 1000, ...query });
  const size = first[name].length, offsets = [];
  for (let offset = size; size && offset < first.total_entries; offset += size) offsets.push(offset);
  const pages = await inParallel("Loading", offsets, (offset) => get(path, { ...query, limit: size, offset }));
  return first[name].concat(...pages.map((page) => page[name]));
}

async function loadLakes() {
  // An AssetAlias makes an asset of each object.
  const assets = (await all("assets", "assets", { order_by: "id" })).filter(
    ({ last_asset_event: last, producing_tasks: tasks, aliases }) => last?.id && (tasks.length || !aliases.length));
  const newest = await inParallel("Looking through assets", assets, ({ id }) =>
    get("assets/events", { asset_id: id, order_by: "-timestamp", limit: 100 }));
  const lakes = [];
  for (const asset of assets.filter((_, number) => newest[number].asset_events.some(readingOf))) {
    const events = await all("assets/events", "asset_events", { asset_id: asset.id, order_by: "timestamp" });
    const readings = [...new Map(events.map((event) => [event.id, event])).values()].map(readingOf).filter(Boolean);
    // Names of a lake's objects differ in the date, so in numbers.
    const byPattern = Map.groupBy(readings, ({ uri }) => uri.replace(/(?<!^s)\d+([-:_T+]*\d+)*/g, "…"));
    for (const [pattern, group] of byPattern) lakes.push({ asset, pattern, readings: group });
  }
  return lakes;
}

function readingOf(event) {
  const { uri, start, end, records, reported, bytes, changed } = event.extra ?? {};
  const bounds = boundsOf(event.extra ?? {});
  if (typeof uri !== "string" || !bounds || !Number.isInteger(records)) return null;
  return {
    ...bounds, uri, records, interval: `${start} to ${end}`, changed: changed === true, at: Date.parse(event.timestamp),
    reported: Number.isInteger(reported) ? reported : null, bytes: Number.isInteger(bytes) ? bytes : null,
    dag: event.source_dag_id, run: event.source_run_id, task: event.source_task_id, mapIndex: event.source_map_index,
  };
}

function boundsOf({ start, end }) {
  const bounds = { start: Date.parse(start), end: Date.parse(end) };
  const offset = Date.parse(`${String(start).slice(0, 19)}Z`) - bounds.start;
  return bounds.start < bounds.end ? { ...bounds, offset } : null;
}

// What each task that checks has found last, if that was this week: an older report says little about today.
async function loadReports() {
  const path = (dag, run, task) => `dags/${dag}/dagRuns/${run}/taskInstances/${task}/xcomEntries`;
  const since = new Date(Date.now() - 8 * DAY).toISOString();
  const query = { xcom_key: "coverage", order_by: "-timestamp", run_after_gte: since };
  const last = new Map();
  for (const entry of await all(path("~", "~", "~"), "xcom_entries", query)) {
    const { dag_id: dag, run_id: run, task_id: task, map_index: mapIndex } = entry;
    const at = Date.parse(entry.timestamp), key = JSON.stringify([dag, task]);
    if (!(last.get(key)?.at > at)) last.set(key, { dag, run, task, mapIndex, at });
  }
  const reports = await inParallel("Loading reports", [...last.values()], async (source) => {
    const ids = [source.dag, source.run, source.task].map(encodeURIComponent);
    const found = get(`${path(...ids)}/coverage`, { map_index: source.mapIndex })
      .then(({ value }) => (typeof value === "string" ? JSON.parse(value) : value));
    return { ...source, found: await found.catch(() => null) };
  });
  return reports.sort((a, b) => a.at - b.at);
}

// From readings to cells

function calendarOf({ asset, pattern, readings }, reports) {
  const found = new Map();
  const cellOf = ({ start, end, offset }) => {
    const key = `${start}/${end}`;
    if (!found.has(key)) found.set(key, { start, end, readings: [], share: 1, count: 1 });
    return Object.assign(found.get(key), { offset });
  };
  const isNew = ({ start, end }) => ![...found.values()].some((cell) => cell.start < end && start < cell.end);
  const newest = new Map(readings.sort((a, b) => a.at - b.at).map((reading) => [reading.uri, reading]));
  const isKept = ({ uri, start, end }) => newest.get(uri).start === start && newest.get(uri).end === end;
  for (const reading of readings.filter(isKept)) cellOf(reading).readings.push(reading);
  // The object of one interval that was overwritten with another's is missing.
  for (const reading of readings.filter((reading) => !isKept(reading) && isNew(reading))) cellOf(reading);
  const lengths = [...found.values()].map(({ start, end }) => end - start).sort((a, b) => a - b);
  const length = lengths[lengths.length >> 1];
  const isUsual = ({ start, end }) => Math.abs((end - start) / length - 1) < 0.2;
  let unseen = 0;
  for (const { at, found: report } of reports.filter(({ found: report }) => Array.isArray(report?.to_read))) {
    const isRead = (cell) => cell.readings.some((reading) => reading.at > at);
    unseen = report.missing + report.short + report.untracked;
    for (const item of report.to_read) {
      const bounds = boundsOf(item ?? {});
      if (!bounds) continue;
      const hasCell = isUsual(bounds) && (found.has(`${bounds.start}/${bounds.end}`) || isNew(bounds));
      if (hasCell && !isRead(cellOf(bounds))) cellOf(bounds).found = item;
      const isSeen = hasCell || areWhole([...found.values()].filter(isRead), bounds);
      if (isSeen && Object.hasOwn(PROBLEMS, item.status)) unseen -= 1;
    }
  }
  const kind = length < 22 * HOUR ? "hours" : length < 26 * HOUR ? "days" : "others";
  const unit = Object.keys(UNITS).find((name) => Math.abs(length / UNITS[name] - 1) < 0.09) ?? "interval";
  const cells = withGaps([...found.values()].sort((a, b) => a.start - b.start), length, isUsual);
  cells.forEach((cell, index) => Object.assign(cell, { index }, wordsOf(cell, kind), countsOf(cell)));
  return { asset, pattern, reports, unseen, cells, kind, unit, length };
}

function areWhole(cells, { start, end }) {
  const covered = cells.map((cell) => Math.max(0, Math.min(cell.end, end) - Math.max(cell.start, start)));
  return covered.reduce((total, part) => total + part, 0) > 0.999 * (end - start);
}

// Adds the intervals that nothing was read of, unless a longer interval or shorter ones have them.
function withGaps(cells, length, isUsual) {
  const longer = cells.filter((cell) => cell.end - cell.start > 1.2 * length);
  const shorter = cells.filter((cell) => cell.end - cell.start < 0.8 * length && cell.readings.length);
  const end = Math.max(...cells.map((cell) => cell.end)), all = [];
  let until = cells[0].start;
  for (const next of [...cells.filter(isUsual), { start: end, end }]) {
    const whole = Math.max(1, Math.round((next.start - until) / length)), parts = whole > MOST_GAPS ? 1 : whole;
    const step = (next.start - until) / parts;
    for (let number = 0; until < next.start && number < parts; number++) {
      const start = until + number * step, gap = { start, end: start + step, share: 1, count: whole / parts };
      const around = longer.find((cell) => cell.start <= start && gap.end <= cell.end);
      const inside = shorter.filter((cell) => start <= cell.start && cell.start < gap.end);
      const sources = around ? [around] : areWhole(inside, gap) ? inside : [];
      if (around) gap.share = step / (around.end - around.start);
      const { offset } = sources[0] ?? all.at(-1) ?? next;
      all.push({ ...gap, offset, readings: sources.flatMap(({ readings }) => readings) });
    }
    if (next.readings && next.end > until) all.push(next);
    until = Math.max(until, next.end);
  }
  return all;
}

function wordsOf({ start, end, offset, count }, kind) {
  const length = (end - start) / count;
  // A day that starts at a local midnight has that date, also if its bounds are written in UTC.
  const wallOf = (from) => ({ hours: from, days: from + length / 2 + offset, others: from + offset })[kind];
  const nameOf = (wall) => (kind === "hours" ? `${date(wall)}, ${time(wall)} UTC` : date(wall));
  const [first, last] = [start, end - length].map(wallOf);
  return { wall: new Date(first), name: count > 1 ? `${nameOf(first)} to ${nameOf(last)}` : nameOf(first) };
}

function countsOf({ readings, found, share }) {
  const objects = [...new Map(readings.map((reading) => [reading.uri, reading])).values()];
  const sum = (name) => objects.reduce((total, { [name]: value }) => (value === null ? NaN : total + share * value), 0);
  const [records, reported, bytes] = ["records", "reported", "bytes"].map(sum);
  const changed = readings.length > objects.length && readings.slice(1).some((reading) => reading.changed);
  let status = records < reported ? "short" : "complete";
  if (!objects.length) status = "missing";
  else if (Object.hasOwn(PROBLEMS, found?.status)) status = found.status;
  return { records, reported, bytes, changed, status, last: readings.at(-1) };
}

// Words

const inUTC = (options) => new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", ...options }).format;
const date = inUTC({ day: "numeric", month: "short", year: "numeric" });
const time = inUTC({ hour: "2-digit", minute: "2-digit" });
const month = inUTC({ month: "long", year: "numeric" }), weekday = inUTC({ weekday: "long" });
const moment = (at) => `${date(at)}, ${time(at)} UTC`;
const inEnglish = (options) => {
  const { format } = new Intl.NumberFormat("en", options);
  return (value) => (Number.isFinite(value) ? format(value) : "unknown");
};
const number = inEnglish({ maximumFractionDigits: 0 });
const size = inEnglish({ style: "unit", unit: "byte", unitDisplay: "narrow", notation: "compact" });
const counted = (count, unit) => `${number(count)} ${unit}${count === 1 ? "" : "s"}`;
const total = (cells) => cells.reduce((sum, { count }) => sum + count, 0);
const are = (count, unit) => `${counted(count, unit)} ${count === 1 ? "is" : "are"}`;

function ago(from) {
  const hours = Math.max(0, Math.floor((Date.now() - from) / HOUR));
  return `${hours < 48 ? counted(hours, "hour") : counted(Math.floor(hours / 24), "day")} ago`;
}

function named(cells) {
  // Neighbours are as far apart in this list as in the calendar.
  const runs = [...Map.groupBy(cells, ({ index }, place) => index - place).values()];
  const names = runs.map((run) => (run.length > 1 ? `${run[0].name} to ${run.at(-1).name}` : run[0].name));
  const more = names.length > MOST_NAMED ? `; and ${names.length - MOST_NAMED} more` : "";
  return names.slice(0, MOST_NAMED).join("; ") + more;
}

function verdictOf({ cells, unit, length, reports, unseen }) {
  const { missing = [], ...others } = Object.groupBy(cells, ({ status }) => status);
  const last = cells.at(-1), isLate = Date.now() - last.end > 2 * length + HOUR;
  const more = Object.keys(PROBLEMS).filter((status) => others[status]).map((status) =>
    `${are(others[status].length, unit)} ${status}: ${named(others[status])}`);
  const isComplete = !more.length, isUnread = reports.length && !reports.at(-1).found?.to_read;
  if (unseen > 0) more.push(`The last check found ${counted(unseen, "gap")} that the calendar cannot show`);
  if (isUnread) more.push("The last check could not be read");
  if (isLate) more.push(`Nothing has been written since: the last ${unit} ended ${ago(last.end)}`);
  const part = missing.every(({ start, end }) => end - start < 0.8 * length) ? "partial " : "";
  const text = `${are(total(missing), part + unit)} missing: ${named(missing)}`;
  if (missing.length) return { kind: "bad", sign: "✕", text, more };
  if (unseen > 0) return { kind: "bad", sign: "!", text: "The last check found gaps", more };
  if (!isComplete) return { kind: "bad", sign: "!", text: "Nothing is missing, but not all is complete", more };
  const [kind, sign] = isLate || isUnread ? ["late", "!"] : ["good", "✓"];
  return { kind, sign, text: `Nothing is missing up to ${last.name}`, more };
}

// Nodes

function element(name, properties = {}, ...children) {
  const node = Object.assign(document.createElement(name), properties);
  node.append(...children);
  return node;
}

function linkToRun({ dag, run, task, mapIndex }) {
  if (!dag || !run || !task) return "unknown";
  const path = ["dags", dag, "runs", run, "tasks", task, ...(mapIndex >= 0 ? ["mapped", mapIndex] : [])];
  const link = element("a", { href: new URL(path.map(encodeURIComponent).join("/"), AIRFLOW) }, `${dag}, ${run}`);
  link.addEventListener("click", (event) => {
    if (window.parent === window) return;
    // Airflow's frame allows no link to leave it, so the page around it goes there itself.
    event.preventDefault();
    Object.assign(window.parent.document.createElement("a"), { href: link.href }).click();
  });
  return link;
}

function list(className, pairs) {
  return element("dl", { className }, ...pairs.map(([term, ...values]) =>
    element("div", {}, element("dt", {}, term), element("dd", {}, ...values))));
}

function detailOf(cell, kind) {
  const { name, found, last, readings, status } = cell, problem = PROBLEMS[status];
  const pairs = [["Status", problem ? `${problem.sign} ${status}: ${problem.meaning}` : "Complete"]];
  const checked = found && `${found.status}: ${number(found.in_s3)} in S3, ${number(found.in_zoom)} at Zoom`;
  if (checked) pairs.push(["Last check", checked]);
  if (last) {
    const changed = cell.changed ? ", changed since the first time" : "";
    pairs.push(
      ["Engagements", number(cell.records)], ["Zoom's count", number(cell.reported)], ["Size", size(cell.bytes)],
      ["Read", moment(last.at), readings.length > 1 ? ` (${readings.length} times${changed})` : ""],
      ["By", linkToRun(last)], ["Interval", last.interval], ["Object", last.uri],
    );
  }
  return [element("h3", {}, kind === "days" ? `${weekday(cell.wall)}, ${name}` : name), list("values", pairs)];
}

function drawCalendar({ cells, kind, length }, top, select) {
  const slots = kind === "hours" ? Math.min(96, Math.round(DAY / length)) : 7;
  const heads = { hours: ["0", "6", "12", "18"], days: ["M", "T", "W", "T", "F", "S", "S"], others: [] }[kind];
  const head = (text, className = "head") => element("span", { className, ariaHidden: "true" }, text);
  const calendar = element("div", { className: `calendar ${kind}`, role: "group", ariaLabel: "Calendar" });
  let year, title, block, row;
  for (const cell of cells) {
    const { wall } = cell, day = wall.getUTCDate();
    if (year !== (year = wall.getUTCFullYear())) calendar.prepend(element("div", { className: "year" }));
    if (title !== (title = kind === "others" ? String(year) : month(wall))) {
      block = element("div", { className: "block" }, ...heads.map((text) => head(text)));
      block.style.setProperty("--slots", slots);
      calendar.firstElementChild.append(element("section", {}, element("h3", {}, title), block));
    }
    if (kind === "hours" && row !== (row = day)) block.append(head(String(day), "head row"));
    const text = { hours: "", days: String(day), others: date(wall).slice(0, -5) }[kind];
    cell.node = drawCell(cell, text, top);
    if (kind === "days") cell.node.style.gridColumnStart = ((wall.getUTCDay() + 6) % 7) + 1;
    if (kind === "hours") cell.node.style.gridColumnStart = Math.floor((wall % DAY) / length) + 2;
    cell.node.addEventListener("focus", () => select(cell));
    cell.node.addEventListener("click", () => cell.node.focus());
    block.append(cell.node);
  }
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -slots, ArrowDown: slots, Home: -Infinity, End: Infinity };
  calendar.addEventListener("keydown", (event) => {
    if (!(event.key in steps) || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    const from = cells.findIndex((cell) => cell.node === document.activeElement);
    cells[Math.max(0, Math.min(cells.length - 1, from + steps[event.key]))].node.focus();
  });
  return calendar;
}

function drawCell({ name, status, records, changed, last }, text, top) {
  const level = records ? Math.min(LEVELS, Math.ceil((LEVELS * records) / top)) : 0;
  const className = `cell ${status === "missing" ? "" : `level-${level}`} ${status} ${changed ? "changed" : ""}`;
  const words = [status !== "complete" && status, last && counted(records, "engagement"), changed && "changed"];
  const ariaLabel = `${name}: ${words.filter(Boolean).join(", ")}`;
  const sign = PROBLEMS[status]?.sign ?? text;
  return element("button", { type: "button", className, ariaLabel, title: ariaLabel, tabIndex: -1 }, sign);
}

function drawLegend(top) {
  const sample = (kind, sign = "") => element("span", { className: `cell ${kind}`, ariaHidden: "true" }, sign);
  const entry = (...children) => element("span", { className: "entry" }, ...children);
  const scale = Array.from({ length: LEVELS }, (_, step) => sample(`level-${step + 1}`));
  const many = `${number(Math.ceil(top - top / LEVELS))} or more`;
  return element("p", { className: "legend" },
    entry(sample("level-0"), "no engagements"), entry("few", ...scale, many),
    ...Object.entries(PROBLEMS).map(([status, { sign }]) => entry(sample(status, sign), status)),
    entry(sample("level-3 changed"), "changed when read again"));
}

function drawTable({ cells, unit }) {
  const table = element("table");
  const head = [unit, "status", "engagements", "Zoom's count", "size", "read at", "times read", "by"];
  table.createTHead().append(element("tr", {}, ...head.map((text) => element("th", { scope: "col" }, text))));
  table.createTBody().append(...cells.toReversed().map(({ name, status, changed, last, readings, ...cell }) => {
    const counts = [number(cell.records), number(cell.reported), size(cell.bytes)];
    const reading = last ? [...counts, moment(last.at), readings.length, linkToRun(last)] : Array(6).fill("");
    const data = [status + (changed ? ", changed" : ""), ...reading].map((value) => element("td", {}, value));
    return element("tr", { className: status }, element("th", { scope: "row" }, name), ...data);
  }));
  return element("div", { className: "scroll" }, table);
}

function drawReport({ found, at, ...source }) {
  const statuses = ["complete", ...Object.keys(PROBLEMS), "due", "surplus"].filter((status) => found?.[status]);
  const counts = statuses.map((status) => `${number(found[status])} ${status}`).join(", ") || "could not be read";
  return element("p", { className: "report" }, `Check of ${moment(at)}: ${counts} (`, linkToRun(source), ")");
}

function drawLake(lake) {
  const { cells, unit, kind, asset, pattern, reports } = lake, { text, sign, more, ...verdict } = verdictOf(lake);
  const written = cells.filter(({ status }) => status !== "missing");
  const counts = written.map(({ records }) => records).filter(Boolean).sort((a, b) => a - b);
  const top = counts[Math.floor(0.95 * (counts.length - 1))] ?? 1;
  const detail = element("aside", { ariaLive: "polite", ariaLabel: `Selected ${unit}` });
  const select = (cell) => {
    for (const { node } of cells) Object.assign(node, { tabIndex: -1, ariaPressed: "false" });
    Object.assign(cell.node, { tabIndex: 0, ariaPressed: "true" });
    detail.replaceChildren(...detailOf(cell, kind));
  };
  const calendar = drawCalendar(lake, top, select);
  const worst = ["missing", "short", "untracked"].map((name) => cells.findLast(({ status }) => status === name));
  select(worst.find(Boolean) ?? cells.at(-1));
  const table = element("details", {}, element("summary", {}, `As a table: ${counted(total(cells), unit)}`));
  table.addEventListener("toggle", () => table.append(drawTable(lake)), { once: true });
  return element("section", { className: "lake" },
    element("p", { className: "source" }, element("strong", {}, asset.name), element("code", {}, pattern)),
    element("div", { className: `verdict ${verdict.kind}` },
      element("span", { className: "sign", ariaHidden: "true" }, sign),
      element("div", {}, element("h2", {}, text), ...more.map((line) => element("p", {}, `${line}.`)))),
    list("facts", [
      [`${unit}s`, number(total(cells))], ["Engagements", number(counts.reduce((total, count) => total + count, 0))],
      ["First", cells[0].name], ["Last", cells.at(-1).name], ["Missing", number(total(cells) - total(written))],
      ["Newest ended", ago(cells.at(-1).end)],
    ]),
    element("div", { className: "body" },
      element("div", {}, calendar, drawLegend(top), ...reports.toReversed().map(drawReport)), detail),
    table);
}

// The page

function progress(text, done, expected) {
  const node = document.getElementById("progress");
  Object.assign(node.firstElementChild, { max: expected, value: done });
  node.lastElementChild.textContent = `${text}: ${done} of ${expected}`;
}

function followTheme() {
  const airflow = window.parent.document.documentElement;
  const apply = () => document.documentElement.classList.toggle("dark", airflow.classList.contains("dark"));
  apply();
  new MutationObserver(apply).observe(airflow, { attributeFilter: ["class"] });
}

async function main() {
  const page = document.querySelector("main");
  if (window.parent !== window) followTheme();
  try {
    const [lakes, reports] = await Promise.all([loadLakes(), loadReports().catch(() => null)]);
    // A report does not name its objects: where a Dag writes several lakes, it could be of any.
    const writes = (dag) => (lake) => lake.readings.some((reading) => reading.dag === dag);
    const patterns = (dag) => new Set(lakes.filter(writes(dag)).map(({ pattern }) => pattern));
    const isOf = (lake) => ({ dag }) => writes(dag)(lake) && patterns(dag).size === 1;
    const calendars = lakes.map((lake) => calendarOf(lake, (reports ?? []).filter(isOf(lake))));
    const ranked = calendars.sort((a, b) => KINDS.indexOf(verdictOf(a).kind) - KINDS.indexOf(verdictOf(b).kind));
    const drawn = ranked.map(drawLake);
    page.replaceChildren(...(drawn.length ? drawn : [document.getElementById("without-events").content]));
    // A user who may not read XComs may still read the events.
    if (!reports) page.prepend(element("p", { className: "failure" }, "Reports of checks could not be read."));
  } catch (error) {
    const text = FAILURES[error.status] ?? `The page could not be loaded. ${error.message}`;
    page.replaceChildren(element("p", { className: "failure", role: "alert" }, text));
  }
  document.getElementById("progress").remove();
}

main();
