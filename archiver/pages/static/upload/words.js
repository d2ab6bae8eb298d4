// How numbers, sizes and times are written, and the page's texts, in the page's language. Texts come from the server; none stands in a script.
import { speech } from "../neve/browse.js"; // served beside: the module that notebooks have, too

const lang = document.documentElement.lang;
const texts = JSON.parse(document.getElementById("texts").textContent);

export const { t: text, size } = speech((name) => texts[name], lang);

export function duration(seconds) {
  for (const [name, length] of [["days", 86400], ["hours", 3600], ["minutes", 60]]) {
    if (seconds >= 1.5 * length) return text(name, { n: Math.round(seconds / length) });
  }
  return text("seconds", { n: Math.max(1, Math.round(seconds)) });
}
