// One sending: files into one dataset, many at once, each asked about before it is sent and hashed while it is.
// Law: what stands in the store is not sent again, whoever was paused, reloaded or killed meanwhile: the archiver is asked, and says. What
// concerns one file costs that file only. A file counts as received when the archiver says that it is proven.
import { Refusal } from "./archiver.js";
import { pause } from "./patience.js";
import { Away, Expired, Gone, Refused, Unreadable, put } from "./store.js";

const FILES = 48; // under way at once; most of them small
const REQUESTS = 5; // to the store at once: browsers have six connections to a host
const LANES = 3; // parts of one file at once: what is on its way when somebody pauses has to be sent again
const ADDRESSES = 8; // asked for at once
const MOST = 200; // files in one question
const TOGETHER_MS = 30;
const SPOILS = new Set([404, 409, 413, 422]); // one file's fault, for which a whole group is refused
const TRIES = 3;
const POLL_S = [0.3, 5];
const CLOSE_S = 60;
const NEVER = 4; // the store failed so often, and never answered: it is not the network

const ENDED = new Set(["received", "already", "refused"]);

// Questions that come within a moment are asked as one, by `ask(questions, signal)`, which gives as many answers.
class Together {
  #waiting = [];

  constructor(ask) {
    this.ask = ask;
  }

  of(question, signal) {
    return new Promise((resolve, reject) => {
      if (this.#waiting.length === 0) setTimeout(() => this.#next(signal), TOGETHER_MS);
      this.#waiting.push({ question, resolve, reject });
    });
  }

  #next(signal) {
    const group = this.#waiting.splice(0, MOST);
    if (this.#waiting.length > 0) setTimeout(() => this.#next(signal), 0);
    this.#all(group, signal);
  }

  // Where one question spoils the group, its halves are asked, down to that one.
  async #all(group, signal) {
    try {
      const answers = await this.ask(group.map((one) => one.question), signal);
      group.forEach((one, at) => one.resolve(answers[at]));
    } catch (error) {
      if (group.length === 1 || !(error instanceof Refusal) || !SPOILS.has(error.status)) return group.forEach((one) => one.reject(error));
      const half = group.length >> 1;
      this.#all(group.slice(0, half), signal);
      this.#all(group.slice(half), signal);
    }
  }
}

// So many at once; the others wait in order.
class Room {
  #free;
  #waiting = [];

  constructor(places) {
    this.#free = places;
  }

  async take(signal) {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise((resolve) => this.#waiting.push(resolve));
    if (signal.aborted) {
      this.give();
      signal.throwIfAborted();
    }
  }

  give() {
    const next = this.#waiting.shift();
    if (next) next();
    else this.#free += 1;
  }
}

export class Sending {
  items = new Map(); // path → file with its state
  dataset = null; // {id, full_name, …} once it is open
  running = false;
  movedBytes = 0; // that left this computer
  wantsClose = true;
  #stop = new AbortController();
  #queue = [];
  #active = 0;
  #proving = false;
  #finishing = false;
  #finished = false;
  #room = new Room(REQUESTS);
  #storeAnswered = false;
  #storeFailed = 0;

  // `show(item)`: it changed. `report(what, detail)`: "running", "paused", "sent", "closing", "finished" or "stopped" (by a Refusal).
  constructor({ archiver, patience, sums, fileMaxBytes, show, report }) {
    Object.assign(this, { archiver, patience, sums, fileMaxBytes, show, report });
    this.asking = new Together((files, signal) => archiver.ask(this.dataset.id, files, signal));
    this.telling = new Together((files, signal) => archiver.done(this.dataset.id, files, signal));
  }

  get settled() {
    return [...this.items.values()].every((item) => ENDED.has(item.state));
  }

  // Add [path, file]s; the same file of which something is under way already is left alone. Gives how many there were.
  add(found) {
    for (const [path, file] of found) {
      const mark = file === null ? "" : `${file.size}:${file.lastModified}`;
      const had = this.items.get(path);
      if (had && had.mark === mark && !ENDED.has(had.state)) continue;
      had?.stop.abort();
      const item = { path, file, mark, size: file?.size ?? 0, sent: 0, state: "waiting", why: null, said: null, fileId: null, datasetId: null, tries: 0 };
      item.stop = new AbortController();
      this.items.set(path, item);
      if (file === null) this.#refuse(item, "why_folder");
      else if (!path.isWellFormed() || path.split("/").some((part) => ["", ".", ".."].includes(part))) this.#refuse(item, "why_path");
      else if (file.size > this.fileMaxBytes) this.#refuse(item, "why_too_large");
      else this.#wait(item);
    }
    this.#pump();
    return found.length;
  }

  // Begin, or go on. `wanted`: {project, instrument, name}.
  async run(wanted) {
    this.#stop = new AbortController();
    const { signal } = this.#stop;
    this.running = true;
    this.#finished = false;
    this.report("running");
    try {
      this.dataset ??= await this.archiver.open(wanted, signal);
    } catch (error) {
      if (!signal.aborted) this.#halt(error, error.status === 403 ? "rights" : "name");
      return;
    }
    this.report("opened");
    this.#queue = [...this.items.values()].filter((item) => item.state === "waiting");
    this.#prove();
    this.#pump();
  }

  pause() {
    this.#stopAll();
    this.report("paused");
  }

  retry(item) {
    item.tries = 0;
    this.#wait(item);
    this.#goOn();
  }

  // Take a file out; what the archiver has of it is given up. Gives false where all of it was sent: then it stays.
  async remove(item) {
    item.stop.abort();
    if (item.fileId !== null) {
      try {
        await this.archiver.giveUp(item.datasetId, item.fileId, AbortSignal.timeout(30_000));
      } catch (error) {
        if (error instanceof Refusal && error.status === 409) {
          this.#set(item, "proving");
          this.#prove();
          return false;
        }
        if (!(error instanceof Refusal && error.status === 404)) console.warn(`what has come of ${item.path} ends by itself`, error);
      }
    }
    if (this.items.get(item.path) === item) this.items.delete(item.path);
    this.#goOn();
    return true;
  }

  // Give up everything that is not sent. What was, stays.
  async cancel() {
    this.#stopAll();
    this.#finished = false;
    const unsent = [...this.items.values()].filter((item) => !ENDED.has(item.state) && item.state !== "proving");
    await Promise.all(unsent.map((item) => this.remove(item)));
    this.report("paused");
  }

  // How it goes on

  #stopAll() {
    this.running = false;
    this.#stop.abort();
    this.patience.forget();
  }

  // What had ended goes on when a file is tried again, or the one that failed is taken out.
  #goOn() {
    if (this.#finished) this.run();
    else this.#pump();
  }

  #halt(error, where) {
    this.#stopAll();
    this.report("stopped", { error, where });
  }

  #set(item, state) {
    item.state = state;
    this.show(item);
    return item;
  }

  #wait(item) {
    item.stop = new AbortController();
    this.#set(item, "waiting");
    this.#queue.push(item);
  }

  #refuse(item, why, said = null) {
    item.why = why;
    item.said = said;
    item.sent = 0;
    this.#set(item, "refused");
  }

  #pump() {
    while (this.running && this.dataset && this.#active < FILES && this.#queue.length > 0) {
      const item = this.#queue.shift();
      if (this.items.get(item.path) !== item || item.state !== "waiting") continue;
      this.#active += 1;
      item.state = "asking";
      this.#one(item).finally(() => {
        this.#active -= 1;
        this.#pump();
      });
    }
    if (this.running && this.dataset && this.#active === 0 && !this.#proving) this.#finish();
  }

  async #one(item) {
    const own = new AbortController(); // one part that fails for good ends the others
    const paused = this.#stop.signal;
    try {
      await this.#send(item, AbortSignal.any([paused, item.stop.signal, own.signal]));
    } catch (error) {
      own.abort(error);
      if (this.items.get(item.path) !== item || item.stop.signal.aborted) return; // it was taken out
      if (paused.aborted || error.name === "AbortError") this.#wait(item);
      else this.#failed(item, error);
    }
  }

  #failed(item, error) {
    if (error instanceof Unreadable) this.#refuse(item, "why_unreadable");
    else if ((error instanceof Gone || error instanceof Refused) && (item.tries += 1) < TRIES) this.#wait(item);
    else if (error instanceof Gone || error instanceof Refused) this.#refuse(item, error instanceof Gone ? "why_missing" : "why_store", error.message);
    else if (error instanceof Refusal && error.status === 404) {
      this.#wait(item);
      this.#halt(error, "gone");
    } else if (error instanceof Refusal && SPOILS.has(error.status)) this.#refuse(item, WHY[error.code] ?? "why_refused", error);
    else {
      this.#wait(item);
      this.#halt(error, error.code === "other-user" ? "other" : error.status === 403 ? "rights" : "fault");
    }
  }

  async #send(item, signal) {
    const { file } = item;
    let sha256 = null;
    for (;;) {
      const answer = await this.asking.of(
        { path: item.path, size_bytes: file.size, mtime: time(file), mark: item.mark, sha256 },
        this.#stop.signal,
      );
      signal.throwIfAborted();
      item.fileId = answer.file_id;
      item.datasetId = answer.dataset_id;
      if (answer.state === "received") return this.#set(item, "already");
      if (answer.state === "verifying") return this.#sent(item);
      if (answer.state !== "known") {
        this.#set(item, "sending");
        const hashed = sha256 ?? this.sums.of(file, () => {}, signal);
        const [version, sum] = await Promise.all([answer.state === "put" ? this.#whole(item, answer.put, signal) : this.#parts(item, answer, signal), hashed]);
        return this.#tell(item, sum, version, signal);
      }
      if (sha256 !== null) throw new Refused("known");
      this.#set(item, "comparing");
      sha256 = await this.sums.of(file, (bytes) => this.#seen(item, bytes), signal);
      item.sent = 0;
    }
  }

  #sent(item) {
    this.#set(item, "proving");
    this.#prove();
  }

  #seen(item, bytes) {
    item.sent = bytes;
    this.show(item);
  }

  async #tell(item, sha256, version, signal) {
    const told = await this.telling.of({ file_id: item.fileId, sha256, version_id: version }, this.#stop.signal).catch(forgotten);
    signal.throwIfAborted();
    if (told.state === "missing") throw new Gone("missing");
    if (told.state === "received") this.#set(item, "received");
    else this.#sent(item);
  }

  #whole(item, request, signal) {
    item.sent = 0;
    return this.#through(item, () => request, item.file, signal, 1);
  }

  async #parts(item, { part_bytes: step, done }, signal) {
    const there = new Map(done.map((part) => [part.number, part.size_bytes]));
    const missing = [];
    item.sent = 0;
    for (let number = 1, start = 0; start < item.size; number += 1, start += step) {
      const blob = item.file.slice(start, Math.min(start + step, item.size));
      if (there.get(number) === blob.size) item.sent += blob.size;
      else missing.push([number, blob]);
    }
    this.show(item);
    const addresses = new Map();
    const address = (at, anew) => {
      const [number] = missing[at];
      if (anew || !addresses.has(number)) {
        const numbers = missing.slice(at, at + ADDRESSES).map(([one]) => one);
        const asked = this.archiver.parts(item.datasetId, item.fileId, numbers, signal).catch(gone);
        numbers.forEach((one) => addresses.set(one, asked.then((given) => given.find((part) => part.number === one))));
        numbers.forEach((one) => addresses.get(one).catch(() => {})); // said by who needs it first
      }
      return addresses.get(number);
    };
    let next = 0;
    const lane = async () => {
      while (next < missing.length) {
        const at = next;
        next += 1;
        await this.#through(item, (anew) => address(at, anew), missing[at][1], signal, TRIES);
      }
    };
    await Promise.all(Array.from({ length: LANES }, lane));
    return null;
  }

  // One request to the store, made until it stands there. `address(anew)`: the signed request; of `expiries` that were too old, one is the last.
  async #through(item, address, blob, signal, expiries) {
    let anew = false;
    for (let attempt = 0; ; attempt += 1) {
      await this.#room.take(signal);
      let moved = 0;
      try {
        const request = await address(anew);
        anew = false;
        const version = await put(request, blob, (bytes) => {
          this.movedBytes += bytes - moved;
          item.sent += bytes - moved;
          moved = bytes;
          this.show(item);
        }, signal);
        item.sent += blob.size - moved;
        this.#storeAnswered = true;
        this.patience.good("store");
        return version;
      } catch (error) {
        item.sent -= moved;
        this.movedBytes -= moved;
        if (error instanceof Expired) {
          expiries -= 1;
          if (expiries === 0) throw new Gone(error.message);
          anew = true;
        } else if (!(error instanceof Away)) throw error;
      } finally {
        this.#room.give();
      }
      this.#storeFailed += 1;
      const why = !this.#storeAnswered && this.#storeFailed >= NEVER ? "store_never" : "store";
      if (attempt > 0) await this.patience.wait("store", why, attempt - 1, null, signal);
    }
  }

  // Ask until nothing of ours is being proven.
  async #prove() {
    if (this.#proving || !this.running) return;
    const { signal } = this.#stop;
    const ours = () => [...this.items.values()].filter((item) => item.state === "proving");
    this.#proving = true;
    try {
      for (let wait = POLL_S[0]; ours().length > 0; wait = Math.min(POLL_S[1], wait * 1.5)) {
        const asked = ours();
        const standing = await this.archiver.notReceived(this.dataset.id, signal);
        let changed = false;
        for (const item of asked) {
          const found = standing.get(item.fileId);
          if (found?.state === "verifying") continue;
          changed = true;
          if (found === undefined) this.#set(item, "received");
          else this.#refuse(item, "why_proof", found.error === null ? null : new Refusal(0, { detail: found.error }));
        }
        if (changed) wait = POLL_S[0];
        if (ours().length > 0) await pause(wait, signal);
      }
    } catch (error) {
      if (!signal.aborted) this.#halt(error, error.status === 404 ? "gone" : error.code === "other-user" ? "other" : "fault");
    } finally {
      this.#proving = false;
    }
    if (this.#stop.signal !== signal) this.#prove(); // it was paused, and goes on
    this.#pump();
  }

  async #finish() {
    if (this.#finishing || !this.settled) return;
    this.#finishing = true;
    this.#finished = false;
    const { signal } = this.#stop;
    const refused = [...this.items.values()].some((item) => item.state === "refused");
    let state = "open";
    try {
      if (this.wantsClose && !refused && this.items.size > 0) state = await this.#close(signal);
      this.running = false;
      this.#finished = true;
      this.report("finished", { state });
    } catch (error) {
      if (!signal.aborted) this.#halt(error, "close");
    } finally {
      this.#finishing = false;
    }
  }

  async #close(signal) {
    this.report("closing");
    const end = performance.now() + CLOSE_S * 1000;
    for (let wait = POLL_S[0]; ; wait = Math.min(POLL_S[1], wait * 1.5)) {
      try {
        const links = await this.archiver.close(this.dataset.id, signal);
        if (links.every((link) => link.state === "closed")) return "closed";
      } catch (error) {
        if (!(error instanceof Refusal) || error.status !== 409 || performance.now() > end) throw error;
      }
      await pause(wait, signal);
    }
  }
}

const WHY = { "too-large": "why_too_large", "checksum-mismatch": "why_proof", "wrong-use": "why_path" };

// It is no file of the dataset any more: it is asked about anew.
function forgotten(error) {
  if (error.status === 404) throw new Gone(error.message);
  throw error;
}

// Its upload has ended: how it is sent is asked anew.
function gone(error) {
  if (error instanceof Refusal && SPOILS.has(error.status)) throw new Gone(error.message);
  throw error;
}

function time(file) {
  const at = new Date(file.lastModified);
  return Number.isNaN(at.getTime()) ? null : at.toISOString();
}
