// The catalog to browse: search, facets, table, one dataset's pane, and bringing data back. One module for the notebook's widget and any page.
//
// `mount(el, {request, texts, lang, first, filters, onSelect, onFilters, onOpen, preview, page, content, download, signIn, inCell})` draws it; `preview(file)`,
// `page(item)`, `content(file)` and `download({dataset, file})`, where there are any, give addresses of a file's picture, of a dataset's own page, of a
// file's bytes and of the page that offers downloads; `signIn()` leads to a sign-in and back; `inCell`: long lists scroll in themselves, so that the next
// cell is near. `request(method, path, {query, body, shown})` asks the archiver's API, by whatever transport, and fails with {code, detail, next_step};
// `shown`: the answer is what the list shows from now on. All that is true lives on the server; what is kept here can be lost at any time.

const PAGE = 50;
const ASKED_AGAIN = new Set(["search", "page", "open", "quote"]); // what changes nothing may be asked for without anybody's pressing
const FAILED = new Set(["denied", "failed"]);
const FACETS = ["project", "instrument", "tier", "tag", "format", "year"];
const LEVELS = ["project", "instrument", "month"]; // of the tree, above its datasets
const SHOWN_VALUES = 8;
const TYPING_MS = 250;
const LOOK_MS = 2000;
const LONGEST_LOOK_MS = 30000;
const RUNNING = new Set(["requested", "awaiting_approval", "queued", "recalling", "copying"]);
const OPEN = new Set([...RUNNING, "ready", "partly_ready"]);
const READ_AT_ONCE = new Set(["now", "in_place", "not_yet"]);

// Words, numbers and times

// Texts with their {values} (`n` chooses between `one|other`), and sizes, in one language; `told(name)` is the text of this name.
export function speech(told, lang) {
  const plural = new Intl.PluralRules(lang);
  const units = told("units").split(" ");
  const t = (name, values = {}) => {
    let said = told(name);
    if ("n" in values && said.includes("|")) said = said.split("|")[plural.select(values.n) === "one" ? 0 : 1];
    return said.replace(/\{(\w+)\}/g, (_, key) => (typeof values[key] === "number" ? values[key].toLocaleString(lang) : values[key]));
  };
  const size = (bytes) => {
    let unit = 0;
    while (bytes >= 999.5 && unit < units.length - 1) {
      bytes /= 1000;
      unit += 1;
    }
    const digits = unit === 0 || bytes >= 99.5 ? 0 : 1;
    return `${bytes.toLocaleString(lang, { minimumFractionDigits: digits, maximumFractionDigits: digits })}\u00a0${units[unit]}`;
  };
  return { t, size };
}

function wording(texts, lang) {
  const { t, size } = speech((name) => texts[name][lang === "fr" ? 1 : 0], lang);
  const day = (iso) => new Date(iso).toLocaleDateString(lang, { dateStyle: "medium" });
  const minute = (iso) => new Date(iso).toLocaleString(lang, { dateStyle: "medium", timeStyle: "short" });
  const month = (said) => new Date(`${said}-15T12:00:00Z`).toLocaleDateString(lang, { year: "numeric", month: "long", timeZone: "UTC" });
  const duration = (seconds) => {
    for (const [name, length] of [["days_long", 86400], ["hours", 3600]]) if (seconds > 1.5 * length || seconds === length) return t(name, { n: Math.ceil(seconds / length) });
    return t("minutes", { n: Math.max(1, Math.ceil(seconds / 60)) });
  };
  const tier = (name) => (name === null ? t("arriving") : name in texts ? t(name) : name);
  const where = (item) => (item.tier === "hot" && item.hot_until ? `${tier("hot")} ${t("until", { day: day(item.hot_until) })}` : tier(item.tier));
  return { t, size, day, minute, month, duration, tier, where };
}

// Elements. Texts are set as text: nothing that a file or a person is called is ever read as markup.

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...present(children));
  return node;
}

const present = (children) => children.filter((child) => child !== null && child !== undefined);

const button = (text, onclick, attributes = {}) => element("button", { type: "button", onclick, ...attributes }, text);

export function mount(el, { request, texts, lang, first = null, filters = {}, ...rest }) {
  const { onSelect = () => {}, onFilters = () => {}, onOpen = () => {}, preview = null, page: pageOf = null, content = null, download = null, signIn = null } = rest;
  const { inCell = false } = rest;
  const w = wording(texts, lang);
  const t = w.t;
  const asked = { ...filters };
  const chosen = new Map(); // full name → dataset
  const grown = new Set(); // branches of the tree that are open
  let items = [];
  let cursor = null;
  let turn = 0; // of the search: an answer to an older one is not shown
  let ended = false;
  let typing = 0;
  let looking = 0;
  let pause = LOOK_MS;
  let later = 0; // what failed, and is tried again by itself
  let patience = LOOK_MS;
  const followed = new Set(); // restores that were seen under way: how they end is told

  const status = element("p", { class: "count", role: "status", "aria-live": "polite" });
  const trouble = element("p", { class: "bad", role: "alert", hidden: true });
  const q = element("input", { type: "search", maxlength: "500", placeholder: t("search_hint"), value: asked.q ?? "", "aria-label": t("search") });
  const since = element("input", { type: "date", value: asked.from ?? "" });
  const until = element("input", { type: "date", value: asked.to ?? "" });
  const facets = element("div", { class: "facets", role: "group", "aria-label": t("narrow") });
  const body = element("tbody");
  const heads = ["dataset", "measured", "size", "where", "title"].map((name) => element("th", { scope: "col", class: name === "size" ? "number" : null }, t(name)));
  const table = element("table", {}, element("thead", {}, element("tr", {}, element("td"), ...heads)), body);
  const near = element("p", { hidden: true });
  const more = button(t("more"), () => page(cursor), { class: "more", hidden: true });
  const tree = element("ul", { class: "tree", hidden: true });
  const asTree = button(t("as_tree"), () => turnTo(tree.hidden), { "aria-pressed": "false" });
  const bringAll = button(t("bring_selected"), () => ask([...chosen.keys()], bringAll), { hidden: true });
  const takeAll = element("a", { class: "as-button", hidden: true });
  const asking = element("section", { class: "asking", hidden: true, "aria-live": "polite" });
  const pane = element("aside", { class: "pane", hidden: true, tabindex: "-1" });
  pane.addEventListener("keydown", (event) => {
    if (event.key === "Escape") shut();
  });
  const restores = element("details", { class: "restores" }, element("summary", {}, t("restores")));
  const restoreList = element("ul");
  const unheard = element("p", { class: "bad", role: "alert", hidden: true });
  restores.append(unheard, restoreList);
  restores.addEventListener("toggle", () => restores.open && look());

  const form = element(
    "form",
    { role: "search", class: "search", onsubmit: (event) => (event.preventDefault(), search()) },
    element("label", { class: "grow" }, t("search"), q),
    element("label", {}, t("from"), since),
    element("label", {}, t("to"), until),
    button(t("clear"), clear),
  );
  const above = element("div", { class: "above" }, status, asTree, bringAll, download === null ? "" : takeAll);
  const list = element("div", { class: "list" }, above, near, asking, element("div", { class: "rows" }, table, tree), more);
  const root = element("div", { class: inCell ? "neve-browse in-cell" : "neve-browse", lang }, form, trouble, element("div", { class: "columns" }, facets, list, pane), restores);
  el.replaceChildren(root);

  q.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(search, TYPING_MS);
  });
  for (const field of [since, until]) field.addEventListener("change", search);
  root.addEventListener("keydown", (event) => {
    // JupyterLab takes Enter from the fields of a cell's output (their beforeinput), so that no form would be sent.
    if (event.key !== "Enter" || event.isComposing || event.shiftKey || event.ctrlKey || event.metaKey || !(event.target instanceof HTMLInputElement)) return;
    event.preventDefault();
    event.target.form?.requestSubmit();
  });

  // Asking, and what goes wrong: a sentence with its next step, and the way to try again.

  async function tried(what, act, again) {
    try {
      const answer = await act();
      if (trouble.dataset.what === what) trouble.hidden = true; // another thing's success says nothing of this one
      patience = LOOK_MS;
      return answer;
    } catch (error) {
      if (ended) return null;
      trouble.dataset.what = what;
      trouble.replaceChildren(...sentence(error), " ", button(t("again"), again));
      trouble.hidden = false;
      clearTimeout(later);
      if (error.code === "away" && ASKED_AGAIN.has(what)) {
        later = setTimeout(() => trouble.dataset.what === what && !trouble.hidden && again(), patience);
        patience = Math.min(patience * 2, LONGEST_LOOK_MS);
      }
      return null;
    }
  }

  // What went wrong, in the reader's language: where there is a text for its kind, what the archiver said stands behind it, in its own.
  function sentence(error) {
    const own = `trouble_${(error.code ?? "").replaceAll("-", "_")}`;
    const said = `${error.detail ?? error.message ?? ""} ${error.next_step ?? ""}`.trim();
    if (error.code === "not-signed-in" && signIn !== null) return [`${t(own)} `, button(t("sign_in"), signIn)];
    if (error.code === "away") return [t(own)];
    return lang === "en" || !(own in texts) ? [said] : [`${t(own)} `, element("span", { lang: "en", class: "quiet" }, said)];
  }

  // Search

  function clear() {
    for (const name of Object.keys(asked)) delete asked[name];
    q.value = since.value = until.value = "";
    search();
  }

  function query() {
    const found = { ...asked, q: q.value.trim() };
    if (since.value) found.from = `${since.value}T00:00:00Z`;
    if (until.value) found.to = `${until.value}T23:59:59Z`;
    for (const [name, value] of Object.entries(found)) if (value === "" || value === null || (Array.isArray(value) && value.length === 0)) delete found[name];
    return found;
  }

  async function search() {
    clearTimeout(typing);
    const mine = ++turn;
    asked.q = q.value.trim();
    asked.from = since.value;
    asked.to = until.value;
    onFilters({ ...asked });
    root.setAttribute("aria-busy", "true");
    const [found, counts] = await Promise.all([
      tried("search", () => request("GET", "datasets", { query: { ...query(), limit: PAGE }, shown: true }), search),
      request("GET", "datasets/facets", { query: query() }).catch(() => null), // the table does without
    ]);
    if (mine !== turn || ended) return;
    root.removeAttribute("aria-busy");
    if (counts !== null) drawFacets(counts);
    if (found !== null) show(found, true);
    if (!tree.hidden) grow(tree, 0, query());
  }

  async function page(after) {
    const mine = turn;
    const found = await tried("page", () => request("GET", "datasets", { query: { ...query(), limit: PAGE, cursor: after } }), () => page(after));
    if (mine === turn && found !== null) show(found, false);
  }

  function show(found, anew) {
    items = anew ? [...found.items] : [...items, ...found.items];
    cursor = found.next_cursor;
    const rows = (anew ? items : found.items).map(row);
    if (anew) body.replaceChildren(...rows);
    else body.append(...rows);
    table.hidden = items.length === 0 || !tree.hidden;
    more.hidden = cursor === null || !tree.hidden;
    const narrowed = Object.values(query()).length > 0;
    near.hidden = true;
    if (items.length === 0 && asked.q) likest(asked.q);
    status.textContent = items.length === 0 ? t(narrowed ? "nothing" : "none_yet") : found.total_more ? t("found_more", { n: found.total }) : t("found", { n: found.total });
  }

  // Where nothing is called so: the names that look like it.
  async function likest(name) {
    const mine = turn;
    const found = await request("GET", "datasets/complete", { query: { prefix: name, limit: 1 } }).catch(() => null); // the sentence does without
    if (mine !== turn || ended || !found?.near?.length) return;
    const ask = (one) => button(one, () => ((q.value = one.slice(one.indexOf("/") + 1)), search()), { class: "link" });
    near.replaceChildren(`${t("perhaps")} `, ...found.near.flatMap((one, number) => (number === 0 ? [ask(one)] : [", ", ask(one)])));
    near.hidden = false;
  }

  function tick(item) {
    const name = item.full_name;
    const box = element("input", { type: "checkbox", "aria-label": t("select", { name }), onchange: () => choose(item, box.checked) });
    box.checked = chosen.has(name);
    return box;
  }

  function row(item) {
    const name = item.full_name;
    return element(
      "tr",
      { "data-name": name },
      element("td", {}, tick(item)),
      element("th", { scope: "row" }, button(name, () => open(item.id), { class: "link" })),
      element("td", {}, w.minute(item.acquired_at ?? item.received_at)),
      element("td", { class: "number" }, w.size(item.size_bytes)),
      element("td", {}, badge(item)),
      element("td", {}, item.title ?? ""),
    );
  }

  const badge = (item) => element("span", { class: "badge", "data-tier": item.tier ?? "none" }, w.where(item));

  function choose(item, on) {
    if (on) chosen.set(item.full_name, item);
    else chosen.delete(item.full_name);
    bringAll.hidden = chosen.size === 0;
    bringAll.textContent = `${t("bring_selected")} (${chosen.size.toLocaleString(lang)})`;
    if (download !== null) {
      takeAll.hidden = chosen.size === 0;
      const several = [...chosen.values()];
      takeAll.textContent = t("take_selected", { size: w.size(several.reduce((sum, one) => sum + one.size_bytes, 0)) });
      takeAll.href = download({ dataset: several.map((one) => one.id) });
    }
    onSelect([...chosen.keys()]);
  }

  // The tree: project, instrument, month, datasets. A branch is asked for when it is opened, and its datasets page by page.

  function turnTo(grows) {
    tree.hidden = !grows;
    asTree.setAttribute("aria-pressed", String(grows));
    search();
  }

  async function grow(place, level, within) {
    if (level === LEVELS.length) return leaves(place, within, null);
    const mine = turn;
    const counts = await tried("tree", () => request("GET", "datasets/facets", { query: within }), () => grow(place, level, within));
    if (counts !== null && mine === turn && !ended) place.replaceChildren(...counts[LEVELS[level]].map((one) => branch(level, within, one)));
  }

  function branch(level, within, { value: said, count, more: atLeast }) {
    const inner = element("ul");
    const next = LEVELS[level] === "month" ? { ...within, ...monthOf(said, within) } : { ...within, [LEVELS[level]]: said };
    const key = JSON.stringify([next.project, next.instrument, level === 2 ? said : ""]);
    const label = LEVELS[level] === "month" ? w.month(said) : said;
    const counted = element("span", { class: "quiet" }, ` ${count.toLocaleString(lang)}${atLeast ? "+" : ""}`);
    const node = element("details", {}, element("summary", {}, label, counted), inner);
    node.addEventListener("toggle", () => {
      if (node.open) grown.add(key);
      else grown.delete(key);
      if (node.open && !inner.hasChildNodes()) grow(inner, level + 1, next);
    });
    node.open = grown.has(key);
    return element("li", {}, node);
  }

  function monthOf(said, { from = "", to = "9" }) {
    const [year, month] = said.split("-").map(Number);
    const begins = `${said}-01T00:00:00Z`;
    const ends = `${month === 12 ? `${year + 1}-01` : `${year}-${String(month + 1).padStart(2, "0")}`}-01T00:00:00Z`;
    return { from: begins > from ? begins : from, to: ends < to ? ends : to };
  }

  async function leaves(place, within, after) {
    const mine = turn;
    const asks = { ...within, limit: PAGE, ...(after === null ? {} : { cursor: after }) };
    const found = await tried("tree", () => request("GET", "datasets", { query: asks }), () => leaves(place, within, after));
    if (found === null || mine !== turn || ended) return;
    const next = found.next_cursor === null ? null : element("li", { class: "next" }, button(t("more"), () => leaves(place, within, found.next_cursor)));
    const fresh = found.items.map((item) =>
      element("li", {}, tick(item), button(item.full_name, () => open(item.id), { class: "link" }), element("span", { class: "quiet" }, w.size(item.size_bytes)), badge(item)),
    );
    place.querySelector(":scope > .next")?.remove();
    place.append(...fresh, ...present([next]));
    if (after !== null) fresh[0]?.querySelector("button").focus(); // the one that was pressed is gone
  }

  // Facets

  function drawFacets(counts) {
    // What is pressed stays to be pressed again, when nothing fits it any more.
    const valuesOf = (name) => {
      const values = counts[name] ?? [];
      return asked[name] && !values.some((one) => one.value === asked[name]) ? [{ value: asked[name], count: 0, more: false }, ...values] : values;
    };
    facets.replaceChildren(
      ...FACETS.filter((name) => valuesOf(name).length > 0).map((name) => {
        const values = valuesOf(name);
        const rest = element("ul", { hidden: true }, ...values.slice(SHOWN_VALUES).map((one) => value(name, one)));
        const all = button(t("more"), () => ((rest.hidden = false), all.remove()), { class: "link" });
        const head = element("h3", {}, t(name));
        return element("section", {}, head, element("ul", {}, ...values.slice(0, SHOWN_VALUES).map((one) => value(name, one))), rest, values.length > SHOWN_VALUES ? all : null);
      }),
    );
  }

  function value(name, { value: said, count, more: atLeast }) {
    const on = name === "year" ? asked.from === `${said}-01-01` : asked[name] === said;
    const label = name === "tier" ? w.tier(said) : said;
    const press = () => {
      if (name === "year") {
        since.value = on ? "" : `${said}-01-01`;
        until.value = on ? "" : `${said}-12-31`;
      } else if (on) delete asked[name];
      else asked[name] = said;
      search();
    };
    const counted = `${count.toLocaleString(lang)}${atLeast ? "+" : ""}`;
    return element("li", {}, button(label, press, { "aria-pressed": String(on), class: "link" }), element("span", { class: "quiet" }, ` ${counted}`));
  }

  // One dataset

  async function open(id) {
    const item = await tried("open", () => request("GET", `datasets/${id}`), () => open(id));
    if (item === null || ended) return;
    const code = `cat["${item.full_name}"].read()`;
    const said = element("p", { class: "said", role: "status" });
    const copy = button(t("code"), async () => {
      try {
        await navigator.clipboard.writeText(code);
        said.textContent = t("copied", { text: code });
      } catch {
        said.textContent = t("not_copied", { text: code });
      }
    });
    const bring = button(t("bring"), () => ask([item.full_name], bring), { hidden: item.readable === "now" || item.readable === "not_yet" || item.readable === "never" });
    const tags = element("p", { class: "tags" });
    const keep = keeping(item, said);
    const files = element("ul", { class: "files" });
    const here = item.readable !== "never" && item.file_count > 0;
    const take = download === null || !here ? null : element("a", { class: "as-button", href: download({ dataset: [item.id] }) }, t("take", { size: w.size(item.size_bytes) }));
    const takeSome = element("a", { class: "as-button", hidden: true });
    const family = element("div");
    const seen = element("div", { class: "preview" });
    const parts = [
      element("h3", { id: `pane-${id}` }, item.full_name),
      button("×", shut, { class: "shut", "aria-label": t("close") }),
      element("p", {}, badge(item), ` ${w.size(item.size_bytes)}, ${t("files", { n: item.file_count })}`),
      item.title ? element("p", {}, item.title) : null,
      item.problem ? element("p", { class: "bad" }, item.problem) : null,
      element("p", { class: "buttons" }, copy, bring, keep.opener, take),
      download === null && here ? element("p", { class: "quiet" }, `${t("take_by_code")} `, element("code", {}, `neve.download("${item.full_name}")`)) : null,
      pageOf === null ? null : element("p", {}, element("a", { href: pageOf(item) }, t("page"))),
      keep.form,
      said,
      tags,
      family,
      seen,
      files,
      element("p", { class: "buttons" }, takeSome),
      metadata(item.metadata),
    ];
    pane.replaceChildren(...present(parts));
    pane.setAttribute("aria-labelledby", `pane-${id}`);
    pane.hidden = false;
    pane.focus();
    onOpen(id);
    drawTags(item, tags);
    drawFamily(id, family);
    const listed = await request("GET", `datasets/${id}/files`, { query: { limit: PAGE } }).catch(() => null);
    if (listed === null || ended) return;
    const picked = new Map();
    const pick = (file, on) => {
      if (on) picked.set(file.id, file);
      else picked.delete(file.id);
      takeSome.hidden = picked.size === 0;
      takeSome.textContent = t("take_files", { n: picked.size, size: w.size([...picked.values()].reduce((sum, one) => sum + one.size_bytes, 0)) });
      takeSome.href = download({ file: [...picked.keys()] });
    };
    const line = (file) => {
      const there = download !== null && file.state === "received";
      const box = there ? element("input", { type: "checkbox", "aria-label": t("select", { name: file.path }), onchange: () => pick(file, box.checked) }) : null;
      const name = element("code", {}, file.path);
      const named = there && content !== null && READ_AT_ONCE.has(item.readable) ? element("a", { href: content(file), "aria-label": t("take_one", { name: file.path }) }, name) : name;
      return element("li", {}, box, " ", named, ` ${w.size(file.size_bytes)}`);
    };
    files.replaceChildren(...listed.items.map(line));
    const shown = listed.items.find((file) => file.has_preview);
    if (shown === undefined) return;
    const picture = (src) => seen.replaceChildren(element("img", { src, alt: t("preview", { name: shown.path }), onerror: () => seen.replaceChildren() }));
    if (preview !== null) return picture(preview(shown));
    const answer = await request("GET", `files/${shown.id}/preview`).catch(() => null);
    if (answer?.png_base64) picture(`data:image/png;base64,${answer.png_base64}`);
  }

  function shut() {
    if (trouble.dataset.what === "open") trouble.hidden = true;
    const name = pane.querySelector("h3")?.textContent;
    pane.hidden = true;
    onOpen(null);
    // The focus goes back to the row that opened it.
    for (const line of list.querySelectorAll(".rows .link")) if (line.textContent === name && line.checkVisibility()) line.focus();
  }

  function metadata(said) {
    const plain = Object.entries(said).filter(([, one]) => one === null || typeof one !== "object" || "value" in one);
    if (plain.length === 0) return null;
    const rows = plain.slice(0, 40).map(([name, one]) => {
      const shown = one !== null && typeof one === "object" ? `${one.value} ${one.units ?? ""}` : String(one);
      return element("tr", {}, element("th", { scope: "row" }, name.replaceAll("_", " ")), element("td", {}, shown));
    });
    return element("details", { open: true }, element("summary", {}, t("metadata")), element("table", { class: "pairs" }, element("tbody", {}, ...rows)));
  }

  async function drawFamily(id, place) {
    const found = await request("GET", `datasets/${id}/lineage`).catch(() => null); // its own page tells it, too
    if (found === null || ended) return;
    const near = (from, to) => found.edges.filter((edge) => edge[from] === id).map((edge) => edge[to]);
    const named = (numbers) => [...found.ancestors, ...found.descendants].filter((one) => numbers.includes(one.id));
    const line = (said, ones) => ones.length > 0 && element("p", {}, `${t(said)}: `, ...ones.flatMap((one) => [button(one.full_name, () => open(one.id), { class: "link" }), " "]));
    place.replaceChildren(...[line("made_of", named(near("dataset_id", "derived_from_id"))), line("made_into", named(near("derived_from_id", "dataset_id")))].filter(Boolean));
  }

  function drawTags(item, place) {
    if (!Array.isArray(item.tags)) return;
    const change = async (patch) => {
      const answer = await tried("tag", () => request("PATCH", `datasets/${item.id}`, { body: patch }), () => change(patch));
      if (answer !== null) drawTags(answer, place);
    };
    const input = element("input", { "aria-label": t("add_tag"), placeholder: t("add_tag"), maxlength: "60", size: "14" });
    const adding = element("form", { onsubmit: (event) => (event.preventDefault(), input.value.trim() && change({ add_tags: [input.value.trim()] })) }, input);
    const given = item.tags.map((tag) => element("span", { class: "tag" }, tag, button("×", () => change({ remove_tags: [tag] }), { "aria-label": t("remove_tag", { name: tag }) })));
    place.replaceChildren(...given, adding);
  }

  function keeping(item, said) {
    const day = element("input", { type: "date", required: true });
    const reason = element("input", { required: true, maxlength: "500" });
    const inner = element(
      "form",
      { class: "keep", hidden: true },
      element("label", {}, t("keep_until"), day),
      element("label", { class: "grow" }, t("keep_reason"), reason),
      element("button", {}, t("confirm")),
    );
    inner.addEventListener("submit", async (event) => {
      event.preventDefault();
      const asks = { dataset: item.full_name, until: day.value, reason: reason.value, files: null };
      const answer = await tried("hold", () => request("POST", "holds", { body: asks }), () => inner.requestSubmit());
      if (answer === null) return;
      inner.hidden = true;
      opener.focus();
      said.textContent = t("kept", { day: w.day(answer.until) });
    });
    const opener = button(t("keep"), () => ((inner.hidden = !inner.hidden), day.focus()), { hidden: item.readable === "never" });
    return { opener, form: inner };
  }

  // Bringing back: a quote first, then the question.

  async function ask(names, from) {
    const days = element("input", { type: "number", min: "1", max: "365", value: "7" });
    const line = element("p");
    const go = button(t("confirm"), confirm, { disabled: true });
    let quote = null;
    let newest = 0;

    async function price() {
      const mine = ++newest;
      go.disabled = true;
      const found = await tried("quote", () => request("POST", "quotes", { body: { datasets: names, files: null, days: Number(days.value) } }), price);
      if (found === null || mine !== newest) return;
      quote = found;
      const fits = found.room.fits && found.quotas.every((one) => one.fits);
      const time = t("within", { time: w.duration(found.ready.at_most_s) });
      const said = [
        found.absent_bytes === 0 ? t("quote_here") : t("quote", { absent: w.size(found.absent_bytes), size: w.size(found.size_bytes), time, cost: found.cost.text }),
        fits ? "" : t("does_not_fit"),
        found.needs_approval ? t("needs_approval") : "",
      ];
      line.textContent = said.filter((one) => one).join(" ");
      go.disabled = !fits || found.absent_bytes === 0;
    }

    async function confirm() {
      go.disabled = true;
      const answer = await tried("restore", () => request("POST", "restores", { body: { quote: quote.id } }), confirm);
      if (answer === null) return;
      leave(t("asked"));
      restores.open = true;
      look();
    }

    function leave(said) {
      asking.hidden = true;
      if (said) status.textContent = said;
      if (from.isConnected && !from.hidden) from.focus();
    }

    days.addEventListener("change", price);
    asking.replaceChildren(
      element("p", {}, names.join(", ")),
      element("label", {}, t("days"), days),
      line,
      element("p", { class: "buttons" }, go, button(t("cancel"), () => leave(""))),
    );
    asking.hidden = false;
    days.focus();
    await price();
  }

  // My restores: looked at while any is under way, less often while the archiver is away.

  async function look() {
    clearTimeout(looking);
    if (ended) return;
    let open = null;
    try {
      const found = await request("GET", "restores", { query: { mine: "true", limit: 100 } });
      open = found.items.filter((one) => OPEN.has(one.state) || (followed.has(one.id) && FAILED.has(one.state)));
      pause = LOOK_MS;
      unheard.hidden = true;
    } catch (error) {
      unheard.replaceChildren(...(error.code === "away" ? [t(followed.size > 0 ? "unheard" : "trouble_away")] : sentence(error)));
      unheard.hidden = false;
      pause = Math.min(pause * 2, LONGEST_LOOK_MS);
    }
    if (ended) return;
    if (open !== null) {
      for (const one of open) if (RUNNING.has(one.state)) followed.add(one.id);
      const before = new Set([...restoreList.querySelectorAll("[data-running]")].map((line) => line.dataset.running));
      restoreList.replaceChildren(...(open.length > 0 ? open.map(restoreLine) : [element("li", { class: "quiet" }, t("no_restores"))]));
      if (open.some((one) => !RUNNING.has(one.state) && before.has(String(one.id)))) search(); // one is back: its row says so
    }
    if (open === null || open.some((one) => RUNNING.has(one.state))) looking = setTimeout(look, pause);
  }

  function restoreLine(one) {
    const runs = RUNNING.has(one.state);
    const bar = element("progress", { max: String(Math.max(1, one.bytes_total)), "aria-label": t("progress", { name: one.dataset }), hidden: !runs });
    if (one.bytes_ready > 0) bar.value = one.bytes_ready; // until the first byte is there it moves, and tells no amount
    if (FAILED.has(one.state)) return element("li", { class: "bad" }, element("strong", {}, one.dataset), ` ${t(`state_${one.state}`)}: `, element("span", { lang: "en" }, one.error ?? ""));
    const change = (what, sent) => async () => (await tried("change", () => request("POST", `restores/${one.id}/${what}`, { body: sent }), change(what, sent))) && look();
    const state = texts[`state_${one.state}`] ? t(`state_${one.state}`) : one.state;
    const when = runs ? (one.promised_by ? t("by", { day: w.minute(one.promised_by) }) : "") : one.expires_at ? t("until", { day: w.minute(one.expires_at) }) : "";
    return element(
      "li",
      runs ? { "data-running": String(one.id) } : {},
      element("strong", {}, one.dataset),
      ` ${state} · ${w.size(one.bytes_ready)} / ${w.size(one.bytes_total)} · ${when} `,
      bar,
      runs ? button(t("stop"), change("cancel", undefined)) : button(t("extend"), change("extend", { days: 7 })),
    );
  }

  if (first !== null) show(first, true); // what was there when it was made: at once
  search();
  look();
  return {
    open,
    still: () => {
      ended = true; // nobody answers: what was saved stays, and says so
      status.textContent = t("static");
      form.hidden = facets.hidden = restores.hidden = more.hidden = asTree.hidden = true;
    },
    end: () => {
      ended = true;
      clearTimeout(typing);
      clearTimeout(looking);
      clearTimeout(later);
    },
  };
}

// In a notebook: requests go to the kernel, which asks the archiver with its own token.

const ANSWER_MS = 5000; // the kernel says at once that it has heard

function overComm(model, silent) {
  const waiting = new Map();
  // Answers go to all views of a widget: no two may ask under one number, and later ones have larger numbers.
  let number = Date.now() * 1000 + Math.floor(Math.random() * 1000);
  const heard = (message) => {
    const one = waiting.get(message.to);
    if (one === undefined) return;
    clearTimeout(one.timer);
    if (message.heard) return;
    waiting.delete(message.to);
    if (message.problem) one.reject(message.problem);
    else one.resolve(message.answer);
  };
  model.on("msg:custom", heard);
  const request = (method, path, { query = {}, body = null, shown = false } = {}) =>
    new Promise((resolve, reject) => {
      const ask = ++number;
      const timer = setTimeout(silent, ANSWER_MS);
      waiting.set(ask, { resolve, reject, timer });
      model.send({ ask, method, path, query, body, shown });
    });
  return { request, stop: () => model.off("msg:custom", heard) };
}

function render({ model, el }) {
  const lang = navigator.language.startsWith("fr") ? "fr" : "en";
  const comm = overComm(model, () => shown.still());
  const save = (name, value) => {
    model.set(name, value);
    model.save_changes();
  };
  const shown = mount(el, {
    request: comm.request,
    texts: model.get("texts"),
    lang,
    first: model.get("first"),
    filters: model.get("filters"),
    onSelect: (names) => save("selected", names),
    onFilters: (filters) => save("filters", filters),
    inCell: true,
  });
  return () => {
    comm.stop();
    shown.end();
  };
}

export default { render };
