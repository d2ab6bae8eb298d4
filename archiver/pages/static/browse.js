// The first page: the notebook's component, over fetch. The address keeps the search, so that it can be passed on; its fragment is a dataset.
import { mount } from "./neve/browse.js";

const here = document.getElementById("browse");
const { root, xsrf } = here.dataset;
const NAMES = ["q", "project", "instrument", "tier", "tag", "format", "from", "to"];

async function request(method, path, { query = {}, body = null } = {}) {
  const address = new URL(`${root}/api/v1/${path}`, location);
  for (const [name, value] of Object.entries(query)) address.searchParams.set(name, value);
  const headers = { "X-Neve-Xsrf": xsrf, Accept: "application/json" };
  if (body !== null) headers["Content-Type"] = "application/json";
  const answer = await fetch(address, { method, headers, body: body === null ? null : JSON.stringify(body) }).catch(away);
  const said = answer.status === 204 ? null : await answer.json().catch(away); // who answers for an archiver that is down does so in HTML
  if (!answer.ok) throw said;
  return said;
}

function away() {
  throw { code: "away" };
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
  content: (file) => `${root}/files/${file.id}/data`,
  download: (chosen) => `${root}/download?${new URLSearchParams(Object.entries(chosen).flatMap(([kind, numbers]) => numbers.map((number) => [kind, number])))}`,
  signIn: () => location.reload(), // the fragment is kept on the way there and back
});
const open = () => {
  const number = /^#(?:dataset-)?(\d{1,15})$/.exec(location.hash);
  if (number !== null) shown.open(Number(number[1]));
};
addEventListener("hashchange", open);
open();
