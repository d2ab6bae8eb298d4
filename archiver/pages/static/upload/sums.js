// SHA-256 of files, computed by two workers beside the page.
import { Unreadable } from "./store.js";

const WORKERS = 2;

export class Sums {
  #workers = [];
  #asked = new Map(); // id → how to answer
  #next = 0;

  // The SHA-256 (hex) of a file; `seen(bytes)` is told how far it is. Raises `Unreadable`.
  of(file, seen, signal) {
    return new Promise((resolve, reject) => {
      signal.throwIfAborted();
      const id = (this.#next += 1);
      const worker = this.#worker(id % WORKERS);
      const stop = () => {
        worker.postMessage({ id });
        this.#asked.delete(id);
        reject(signal.reason);
      };
      const answer = ({ bytes, sha256, error }) => {
        if (bytes !== undefined) return seen(bytes);
        this.#asked.delete(id);
        signal.removeEventListener("abort", stop);
        return error === undefined ? resolve(sha256) : reject(new Unreadable(error));
      };
      signal.addEventListener("abort", stop, { once: true });
      this.#asked.set(id, answer);
      worker.postMessage({ id, file });
    });
  }

  #worker(at) {
    if (this.#workers[at] === undefined) {
      const worker = new Worker(new URL("./hasher.js", import.meta.url), { type: "module" });
      worker.onmessage = ({ data }) => this.#asked.get(data.id)?.(data);
      worker.onerror = (event) => this.#asked.forEach((answer) => answer({ error: event.message ?? "worker" }));
      this.#workers[at] = worker;
    }
    return this.#workers[at];
  }
}
