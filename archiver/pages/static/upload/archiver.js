// The archiver's side of sending. Every call may be repeated, so every call is: an archiver that is away, busy or full is waited for without end.
// A refusal is a `Refusal` with its code and sentences. When the session has ended, the person signs in again in another tab and it goes on.
const AWAY = new Set([408, 429, 502, 503, 504, 507]);
const FAULTS = 6; // times that a 500 is asked again: it may be a bug that stays
const SIGN_IN_LOOK_S = 3;

export class Refusal extends Error {
  constructor(status, problem) {
    super(problem.detail ?? `${status}`);
    this.status = status;
    this.code = problem.code ?? "";
    this.nextStep = problem.next_step ?? "";
  }
}

export class Archiver {
  #signingIn = null;

  constructor({ root, user, xsrf }, patience) {
    this.root = root;
    this.user = user;
    this.xsrf = xsrf;
    this.patience = patience;
  }

  open(dataset, signal) {
    return this.#call("POST", "datasets", dataset, signal);
  }

  async ask(datasetId, files, signal) {
    return (await this.#call("POST", `datasets/${datasetId}/uploads`, { files }, signal)).items;
  }

  async parts(datasetId, fileId, numbers, signal) {
    return (await this.#call("POST", `datasets/${datasetId}/uploads/${fileId}/parts`, { numbers }, signal)).items;
  }

  async done(datasetId, files, signal) {
    return (await this.#call("POST", `datasets/${datasetId}/uploads/done`, { files }, signal)).items;
  }

  giveUp(datasetId, fileId, signal) {
    return this.#call("DELETE", `datasets/${datasetId}/uploads/${fileId}`, undefined, signal);
  }

  async close(datasetId, signal) {
    return (await this.#call("POST", `datasets/${datasetId}/close`, undefined, signal)).items;
  }

  // All files of a dataset, and of those that continue it, that are not received: file_id → what the archiver says of it.
  async notReceived(datasetId, signal) {
    const found = new Map();
    let cursor = null;
    do {
      const query = cursor === null ? "" : `&cursor=${encodeURIComponent(cursor)}`;
      const page = await this.#call("GET", `datasets/${datasetId}/uploads?limit=500${query}`, undefined, signal);
      for (const item of page.items) found.set(item.file_id, item);
      cursor = page.next_cursor;
    } while (cursor !== null);
    return found;
  }

  async #call(method, path, body, signal) {
    let faults = 0;
    for (let attempt = 0; ; attempt += 1) {
      signal.throwIfAborted();
      const headers = { Accept: "application/json", "X-Neve-Xsrf": this.xsrf };
      if (body !== undefined) headers["Content-Type"] = "application/json";
      let answer;
      let said;
      try {
        answer = await fetch(`${this.root}/api/v1/${path}`, { method, headers, body: JSON.stringify(body), signal, redirect: "error", cache: "no-store" });
        said = answer.status === 204 ? null : await answer.json();
      } catch {
        signal.throwIfAborted(); // else the network, or what answered was no archiver
        await this.patience.wait("archiver", "archiver", attempt, null, signal);
        continue;
      }
      if (answer.ok) {
        this.patience.good("archiver");
        return said;
      }
      if (answer.status === 401) {
        await this.#signedInAgain(signal);
        continue;
      }
      faults += answer.status === 500;
      if (!AWAY.has(answer.status) && !(answer.status === 500 && faults < FAULTS)) throw new Refusal(answer.status, said);
      const asked = Number.parseFloat(answer.headers.get("Retry-After"));
      await this.patience.wait("archiver", said.code === "reception-full" ? "full" : "archiver", attempt, Number.isNaN(asked) ? null : asked, signal);
    }
  }

  #signedInAgain(signal) {
    this.#signingIn ??= this.#lookForSession(signal).finally(() => {
      this.#signingIn = null;
    });
    return this.#signingIn;
  }

  // The page itself, asked for again, is either the hub's sign-in or carries the new session's token.
  async #lookForSession(signal) {
    for (;;) {
      try {
        const answer = await fetch(`${this.root}/upload`, { signal, redirect: "manual", cache: "no-store" });
        if (answer.ok) {
          const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("upload");
          if (fresh?.dataset.user !== this.user) throw new Refusal(403, { code: "other-user" });
          this.xsrf = fresh.dataset.xsrf;
          this.patience.good("session");
          return;
        }
      } catch (error) {
        if (error instanceof Refusal) throw error;
        signal.throwIfAborted();
      }
      await this.patience.wait("session", "session", 0, SIGN_IN_LOOK_S, signal);
    }
  }
}
