// How numbers, sizes and times are written, and the page's texts, in the page's language. Texts come from the server; none stands in a script.
const lang = document.documentElement.lang;
const texts = JSON.parse(document.getElementById("texts").textContent);
const plural = new Intl.PluralRules(lang);
const units = texts.units.split(" ");

const number = (value) => value.toLocaleString(lang);

// The text of this name with its {values}; `n` chooses between `one|other`.
export function text(name, values = {}) {
  let said = texts[name];
  if ("n" in values && said.includes("|")) said = said.split("|")[plural.select(values.n) === "one" ? 0 : 1];
  return said.replace(/\{(\w+)\}/g, (_, key) => (typeof values[key] === "number" ? number(values[key]) : values[key]));
}

export function size(bytes) {
  let unit = 0;
  while (bytes >= 999.5 && unit < units.length - 1) {
    bytes /= 1000;
    unit += 1;
  }
  const digits = unit === 0 || bytes >= 99.5 ? 0 : 1;
  return `${bytes.toLocaleString(lang, { minimumFractionDigits: digits, maximumFractionDigits: digits })}\u00a0${units[unit]}`;
}

export function duration(seconds) {
  for (const [name, length] of [["days", 86400], ["hours", 3600], ["minutes", 60]]) {
    if (seconds >= 1.5 * length) return text(name, { n: Math.round(seconds / length) });
  }
  return text("seconds", { n: Math.max(1, Math.round(seconds)) });
}
