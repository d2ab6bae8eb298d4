// The page "Browse": the notebook's component, over fetch. The address keeps the search, so that it can be passed on; its fragment is a dataset.
import { mount } from "./neve/browse.js";

const here = document.getElementById("browse");
const { root, xsrf } = here.dataset;
const NAMES = ["q", "project", "instrument", "tier", "tag", "format", "from", "to"];

async function request(method, path, { query = {}, body = null } = {}) {
  const address = new URL(`${root}/api/v1/${path}`, location);
  for (const [name, value] of Object.entries(query)) address.searchParams.set(name, value);
  const headers = { "X-Neve-Xsrf": xsrf, Accept: "application/json" };
  if (body !== null) headers["Content-Type"] = "application/json";
  const answer = await fetch(address, { method, headers, body: body === null ? null : JSON.stringify(body) });
  if (answer.status === 401) location.reload(); // to the sign-in, and back to this very address
  const said = answer.status === 204 ? null : await answer.json();
  if (!answer.ok) throw said;
  return said;
}

function keep(filters) {
  const kept = new URLSearchParams(Object.entries(filters).filter(([, value]) => value));
  history.replaceState(null, "", `${kept.size > 0 ? `?${kept}` : location.pathname}${location.hash}`);
}

const asked = new URLSearchParams(location.search);
const texts = await (await fetch(new URL("./neve/browse.texts.json", import.meta.url))).json();
const shown = mount(here, {
  request,
  texts,
  lang: document.documentElement.lang,
  filters: Object.fromEntries(NAMES.filter((name) => asked.get(name)).map((name) => [name, asked.get(name)])),
  onFilters: keep,
  onOpen: (id) => history.replaceState(null, "", `${location.pathname}${location.search}${id === null ? "" : `#${id}`}`),
  preview: (file) => `${root}/files/${file.id}/preview.png`,
  page: (item) => `${root}/datasets/${item.id}`,
});
const open = () => /^#\d{1,15}$/.test(location.hash) && shown.open(Number(location.hash.slice(1)));
addEventListener("hashchange", open);
open();
