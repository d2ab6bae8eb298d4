// The page "Add data": what is dropped or chosen, the list with each file's state, the buttons, and what is told. The sending is `Sending`'s.
import { Archiver, Refusal } from "./archiver.js";
import { chosen, dropped } from "./folders.js";
import { Patience } from "./patience.js";
import { Sending } from "./sending.js";
import { Sums } from "./sums.js";
import { duration, size, text } from "./words.js";

const AT_ONCE = 200; // rows that are shown more with each press
const LOOK_MS = 250;
const RATE_OVER_MS = 8000;
const TOLD_EVERY_MS = 20_000; // to screen readers
const REMOVABLE = new Set(["waiting", "asking", "comparing", "sending", "refused"]);

const by = (id) => document.getElementById(id);
const root = by("upload");
const where = by("where");
const field = (name) => where.elements[name];
const fileMaxBytes = Number(root.dataset.fileMaxBytes);

const order = new Intl.Collator(document.documentElement.lang, { numeric: true }); // scan_9 before scan_10

const patience = new Patience(told);
const archiver = new Archiver(root.dataset, patience);
const sending = new Sending({ archiver, patience, sums: new Sums(), fileMaxBytes, show: touched, report });

let phase = "empty"; // empty, ready, running, paused, finished
let shown = AT_ONCE;
const rows = new Map(); // item → its row
const dirty = new Set();
let wait = 0;
let moved = []; // [time, bytes moved] of the last seconds
let toldAt = 0;

// What is added

async function add(found) {
  const before = sending.items.size;
  found.sort(([a], [b]) => order.compare(a, b));
  if (sending.add(found) === 0) return notice("nothing_found");
  hideNotice();
  if (field("dataset").value === "" && before === 0) field("dataset").value = folderOf(found);
  if (phase === "empty" || phase === "finished") enter("ready");
  reorder();
}

// The one folder that all of it is in: mostly the measurement's name.
function folderOf(found) {
  const names = new Set(found.map(([path]) => (path.includes("/") ? path.split("/")[0] : "")));
  return names.size === 1 ? [...names][0] : "";
}

const drop = by("drop");
for (const name of ["dragenter", "dragover"]) {
  addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", drop.contains(event.target));
  });
}
addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) drop.classList.remove("over");
});
addEventListener("drop", async (event) => {
  event.preventDefault(); // a file that misses the area would take the place of this page
  drop.classList.remove("over");
  if (!root.contains(event.target)) return;
  const reading = by("reading");
  const found = dropped(event.dataTransfer, (n) => {
    reading.hidden = false;
    reading.textContent = text("reading_folders", { n });
  });
  await add(await found);
  reading.hidden = true;
});
for (const kind of ["files", "folder"]) {
  const input = by(`${kind}-input`);
  by(`pick-${kind}`).addEventListener("click", () => input.click());
  input.addEventListener("change", async () => {
    await add(chosen(input.files));
    input.value = "";
  });
}
by("pick-folder").hidden = !("webkitdirectory" in by("folder-input")) || matchMedia("(pointer: coarse) and (hover: none)").matches;

// Buttons

by("go").addEventListener("click", () => {
  if (phase === "running") return sending.pause();
  start();
});
where.addEventListener("submit", (event) => {
  event.preventDefault();
  if (phase === "ready" || phase === "paused") start();
});

function start() {
  const lacking = ["project", "instrument", "dataset"].find((name) => field(name).value.trim() === "");
  if (lacking) {
    notice("fill_in", { field: text(lacking) });
    field(lacking).focus();
    return;
  }
  hideNotice();
  sending.wantsClose = by("close").checked;
  sending.run({ project: field("project").value, instrument: field("instrument").value, name: field("dataset").value.trim() });
}

by("close").addEventListener("change", () => {
  sending.wantsClose = by("close").checked;
});

by("cancel").addEventListener("click", () => by("ask").showModal());
by("ask").addEventListener("close", async () => {
  if (by("ask").returnValue !== "cancel") return;
  await sending.cancel();
  reorder();
  if (sending.items.size === 0) beginAnew();
});
by("more").addEventListener("click", () => {
  shown += AT_ONCE;
  reorder();
});

addEventListener("beforeunload", (event) => {
  if (phase === "running" || (phase === "paused" && !sending.settled)) event.preventDefault();
});

// Nothing is left in the list: another dataset may be named.
function beginAnew() {
  sending.dataset = null;
  history.replaceState(null, "", location.pathname);
  hideNotice();
  enter("empty");
}

// What happens

function report(what, detail = {}) {
  if (what === "running") {
    moved = [];
    enter("running");
    say(text("started"));
  } else if (what === "opened") {
    const { project, instrument, name } = sending.dataset;
    const begun = new URLSearchParams({ project, instrument, dataset: name });
    history.replaceState(null, "", `?${begun}`); // a reload finds the same dataset
  } else if (what === "paused") {
    hideNotice();
    enter("paused");
    say(text("paused"));
  } else if (what === "closing") notice("closing");
  else if (what === "stopped") stopped(detail);
  else if (what === "finished") finished(detail.state);
}

function stopped({ error, where: at }) {
  enter(sending.dataset === null ? "ready" : "paused");
  const said = error instanceof Refusal ? [error.message, error.nextStep] : [];
  if (!(error instanceof Refusal)) console.error(error);
  notice(`stop_${at}`, { user: archiver.user }, error.code === "other-user" ? [] : said);
}

function told(why) {
  if (why === null) {
    hideNotice();
    return say(text("again"));
  }
  notice(`away_${why}`, { origin: root.dataset.origin });
  by("notice-link").hidden = why !== "session";
}

function finished(state) {
  enter("finished");
  hideNotice();
  const states = [...sending.items.values()].map((item) => item.state);
  const count = (name) => states.filter((one) => one === name).length;
  const [received, already, refused] = ["received", "already", "refused"].map(count);
  by("end-title").textContent = text(refused ? "done_not_all" : "done");
  const said = [received || !already ? text("count_received", { n: received }) : "", already ? text("count_already", { n: already }) : ""];
  if (refused) said.push(text("count_refused", { n: refused }));
  by("end-counts").textContent = said.filter(Boolean).join(" ");
  by("end-state").textContent = text(state === "closed" ? "is_closed" : refused && sending.wantsClose ? "not_closed" : "is_open");
  const ids = new Set([...sending.items.values()].map((item) => item.datasetId).filter((id) => id !== null));
  by("end-links").replaceChildren(
    ...[...(ids.size ? ids : [sending.dataset.id])].map((id) => {
      const link = document.createElement("a");
      link.className = "button";
      link.href = `${root.dataset.root}/datasets/${id}`;
      const name = id === sending.dataset.id ? sending.dataset.full_name : `${sending.dataset.full_name}+ (${id})`;
      link.textContent = text("to_dataset", { name });
      return link;
    }),
  );
  by("end").hidden = false;
  say(`${by("end-title").textContent}. ${by("end-counts").textContent}`);
}

function enter(next) {
  phase = next;
  const [fields] = where.getElementsByTagName("fieldset");
  fields.disabled = sending.dataset !== null || phase === "running";
  const go = by("go");
  go.disabled = phase === "empty" || phase === "finished";
  go.textContent = text({ running: "pause", paused: "resume" }[phase] ?? "send");
  by("cancel").hidden = phase !== "running" && phase !== "paused";
  by("how-far").hidden = phase === "empty" || phase === "ready";
  by("end").hidden = phase !== "finished";
  root.dataset.phase = phase;
  look();
}

// Sentences

function notice(name, values = {}, more = []) {
  by("notice-text").textContent = text(name, values);
  by("notice-more").textContent = more.filter(Boolean).join(" ");
  by("notice-link").hidden = true;
  by("notice").hidden = false;
  by("notice").classList.toggle("bad", name.startsWith("stop_"));
  say(by("notice-text").textContent);
}

function hideNotice() {
  by("notice").hidden = true;
}

function say(sentence) {
  by("said").textContent = sentence;
  toldAt = performance.now();
}

// The list, and how far it is: looked at a few times a second, however much happens

function touched(item) {
  dirty.add(item);
  wait ||= setTimeout(look, LOOK_MS);
}

function look() {
  clearTimeout(wait);
  wait = 0;
  for (const item of dirty) if (rows.has(item)) fill(rows.get(item), item);
  dirty.clear();
  figures();
}

function figures() {
  const items = [...sending.items.values()];
  const wanted = items.filter((item) => item.state !== "refused");
  const all = wanted.reduce((sum, item) => sum + item.size, 0);
  const done = wanted.reduce((sum, item) => sum + (item.state === "comparing" ? 0 : sentOf(item)), 0);
  const ended = wanted.filter((item) => item.state === "received" || item.state === "already").length;
  const unsent = wanted.some((item) => !["received", "already", "proving"].includes(item.state));
  by("all").value = all === 0 ? Number(!unsent) : done / all;
  by("count").textContent = text("so_far", { done: ended, n: items.length });
  by("bytes").textContent = text("bytes_of", { done: size(done), all: size(all) });
  const now = performance.now();
  moved = [...moved.filter(([at]) => now - at < RATE_OVER_MS), [now, sending.movedBytes]];
  const [[since, before]] = moved;
  const rate = ((sending.movedBytes - before) * 1000) / Math.max(now - since, 1);
  const telling = phase === "running" && unsent && rate > 0 && now - since > 500;
  by("rate").textContent = telling ? text("per_second", { size: size(rate) }) : "";
  by("left").textContent = telling ? text("left", { time: duration((all - done) / rate) }) : "";
  if (phase === "running" && !unsent && wanted.length && by("notice").hidden) notice("all_sent");
  if (phase === "running" && unsent && now - toldAt > TOLD_EVERY_MS) say(text("percent", { n: Math.floor(100 * by("all").value) }));
}

const sentOf = (item) => (["received", "already", "proving"].includes(item.state) ? item.size : item.sent);

// Refused files first, so that none is overlooked; else in the order in which they were added.
function reorder() {
  const items = [...sending.items.values()].sort((a, b) => Number(b.state === "refused") - Number(a.state === "refused"));
  const part = items.slice(0, shown);
  const kept = new Set(part);
  for (const [item, row] of rows) {
    if (kept.has(item)) continue;
    row.remove();
    rows.delete(item);
  }
  part.forEach((item, at) => {
    if (!rows.has(item)) rows.set(item, newRow(item));
    const row = rows.get(item);
    if (by("rows").children[at] !== row) by("rows").insertBefore(row, by("rows").children[at] ?? null);
  });
  by("list").hidden = items.length === 0;
  by("more").hidden = items.length <= shown;
  by("more").textContent = text("more", { n: Math.min(AT_ONCE, items.length - shown) });
  look();
}

function cell(kind, label, className = "") {
  const made = document.createElement(kind);
  if (label) made.dataset.label = text(label);
  made.className = className;
  return made;
}

function newRow(item) {
  const row = document.createElement("tr");
  const name = cell("th", null);
  name.scope = "row";
  const path = document.createElement("bdi"); // a name that is written right to left leaves the rest as it is
  path.textContent = item.path;
  name.append(path);
  const bytes = cell("td", "size", "number");
  bytes.textContent = size(item.size);
  row.append(name, bytes, cell("td", "state", "state"), cell("td", null, "act"));
  fill(row, item);
  return row;
}

function fill(row, item) {
  const [, , state, act] = row.children;
  const shownState = item.state === "asking" ? "waiting" : item.state;
  if (row.dataset.state !== shownState) {
    const refusedChanged = shownState === "refused" || row.dataset.state === "refused";
    row.dataset.state = shownState;
    state.replaceChildren(...toldOf(item, shownState));
    act.replaceChildren(...buttons(item));
    if (refusedChanged && rows.get(item) === row) queueMicrotask(reorder);
  }
  const bar = state.querySelector("progress");
  if (bar) bar.value = item.size === 0 ? 0 : item.sent / item.size;
}

function toldOf(item, state) {
  const word = document.createElement("span");
  word.textContent = text(state);
  word.className = { received: "good", already: "good", refused: "bad" }[state] ?? (state === "waiting" ? "quiet" : "");
  const parts = [word];
  if (state === "sending" || state === "comparing" || (state === "waiting" && item.sent > 0)) {
    const bar = document.createElement("progress");
    bar.max = 1;
    bar.setAttribute("aria-label", text("progress_one", { path: item.path }));
    parts.push(bar);
  }
  if (state === "refused") {
    const why = document.createElement("div");
    why.textContent = text(item.why, { limit: size(fileMaxBytes) });
    parts.push(why);
    if (item.said) {
      const said = document.createElement("div");
      said.className = "quiet";
      said.lang = "en";
      said.textContent = item.said instanceof Refusal ? `${item.said.message} ${item.said.nextStep}` : item.said;
      parts.push(said);
    }
  }
  return parts;
}

function buttons(item) {
  const made = [];
  const button = (name, press) => {
    const one = document.createElement("button");
    one.type = "button";
    one.className = "plain";
    one.textContent = text(name);
    one.setAttribute("aria-label", text(`${name}_one`, { path: item.path }));
    one.addEventListener("click", press);
    made.push(one);
  };
  if (item.state === "refused" && item.file !== null && !["why_path", "why_too_large"].includes(item.why)) {
    button("retry", () => {
      hideNotice();
      sending.retry(item);
      if (phase === "empty") enter("ready");
    });
  }
  if (REMOVABLE.has(item.state)) {
    button("remove", async () => {
      if (!(await sending.remove(item))) notice("why_sent");
      reorder();
      if (sending.items.size === 0 && phase !== "running") beginAnew();
    });
  }
  return made;
}

setInterval(() => {
  if (phase === "running") look();
}, 1000);
