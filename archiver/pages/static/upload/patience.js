// The network, the archiver, the store or the session are away, or fast storage is full: that ends some day, and nothing is lost by waiting.
// Law: no end to the waiting, growing pauses with jitter, one sentence for a whole outage. Whoever gets through first ends the pause of all.
const FIRST_S = 0.5;
const LONGEST_S = 60;

export function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const end = setTimeout(over, seconds * 1000);
    const stopped = () => {
      clearTimeout(end);
      reject(signal.reason);
    };
    function over() {
      signal.removeEventListener("abort", stopped);
      resolve();
    }
    signal.addEventListener("abort", stopped, { once: true });
  });
}

export class Patience {
  #away = new Map(); // what is away → why
  #wake = new Set();

  // `tell(why)` is called when there is something to wait for, and with null when there is no more.
  constructor(tell) {
    this.tell = tell;
    const wakeAll = () => this.#wake.forEach((wake) => wake());
    addEventListener("online", wakeAll);
    addEventListener("focus", wakeAll); // somebody who comes back from signing in need not wait
  }

  async wait(what, why, attempt, askedS, signal) {
    const reason = navigator.onLine ? why : "offline";
    if (this.#away.get(what) !== reason) {
      this.#away.set(what, reason);
      this.tell(reason);
    }
    const longest = askedS ?? Math.min(LONGEST_S, FIRST_S * 2 ** Math.min(attempt, 16));
    const woken = new AbortController();
    const wake = () => woken.abort();
    this.#wake.add(wake);
    try {
      await pause(longest * (askedS === null ? 0.5 + Math.random() / 2 : 1 + Math.random() / 4), AbortSignal.any([signal, woken.signal]));
    } catch {
      signal.throwIfAborted();
    } finally {
      this.#wake.delete(wake);
    }
  }

  good(what) {
    if (!this.#away.delete(what)) return;
    this.#wake.forEach((wake) => wake());
    this.tell([...this.#away.values()].at(-1) ?? null);
  }

  // The sending was paused: nothing is waited for any more.
  forget() {
    this.#away.clear();
  }
}
