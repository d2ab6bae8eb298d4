// While a restore is under way, ask for this page again and exchange the parts that show its progress ([data-live], matched by id).
// A part in which somebody types is left alone. When nothing runs any more, the new page no longer loads this file, and asking ends.
const MARK = "script[src$='/live.js']";
let pause = 2000;

async function look() {
  if (document.hidden) return true;
  let answer;
  try {
    answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  } catch {
    pause = Math.min(pause * 2, 30000);
    return true;
  }
  if (answer.redirected) {
    location.reload(); // signed out meanwhile
    return false;
  }
  if (!answer.ok) {
    pause = Math.min(pause * 2, 30000);
    return true;
  }
  pause = 2000;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of document.querySelectorAll("[data-live]")) {
    const next = fresh.getElementById(part.id);
    if (next && next.innerHTML !== part.innerHTML && !part.contains(document.activeElement)) part.replaceWith(next);
  }
  return fresh.querySelector(MARK) !== null;
}

function again() {
  setTimeout(async () => {
    if (await look()) again();
  }, pause);
}

again();
