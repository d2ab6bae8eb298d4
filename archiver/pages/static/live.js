// While a restore is under way, ask for this page again and exchange the parts that show its progress ([data-live], matched by id).
// A row that its filter no longer lists (restored, it is not deep any more) is asked for by its own address. A part in which somebody
// types is left alone. Asking ends when nothing runs any more. While nobody answers, the page says so.
const MARK = "script[src$='/live.js']";
const RUNNING = ".running";
const unheard = document.getElementById("unheard");
let pause = 2000;

async function get(address) {
  const answer = await fetch(address, { headers: { Accept: "text/html" } });
  if (answer.redirected) location.reload(); // signed out meanwhile
  if (!answer.ok) throw new Error(`${address} answers ${answer.status}`);
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

function exchange(part, fresh) {
  const next = fresh.getElementById(part.id);
  if (next && next.innerHTML !== part.innerHTML && !part.contains(document.activeElement)) part.replaceWith(next);
}

async function look() {
  if (document.hidden) return true;
  try {
    const fresh = await get(location.href);
    for (const part of document.querySelectorAll("[data-live]")) {
      if (fresh.getElementById(part.id)) exchange(part, fresh);
      else if (part.querySelector(RUNNING) && part.dataset.live) exchange(part, await get(part.dataset.live));
    }
    pause = 2000;
    unheard.hidden = true;
    return fresh.querySelector(MARK) !== null || document.querySelector(RUNNING) !== null;
  } catch {
    unheard.hidden = false;
    pause = Math.min(pause * 2, 30000); // the network or the archiver is away: ask less often
    return true;
  }
}

function again() {
  setTimeout(async () => {
    if (await look()) again();
  }, pause);
}

again();
