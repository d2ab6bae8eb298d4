// PUTs to the store, each by a request that the archiver signed: its headers only, no cookie. What one meets: it stands there, or a `Refused`,
// `Away`, `Expired` (a new request is needed) or `Gone` (the upload it belongs to has ended).
const STALLED_S = 60;
const STANDS_THERE = 412;

export class Away extends Error {}
export class Expired extends Error {}
export class Gone extends Error {}
export class Refused extends Error {}
export class Unreadable extends Error {}

// Send a blob; gives the version that the store names, or null. `moved(bytes)` is told how much has left so far.
export function put(request, blob, moved, signal) {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const sending = new XMLHttpRequest();
    let stalled;
    const stop = () => sending.abort();
    const settle = (how, value) => {
      clearTimeout(stalled);
      signal.removeEventListener("abort", stop);
      how(value);
    };
    const alive = () => {
      clearTimeout(stalled);
      stalled = setTimeout(stop, STALLED_S * 1000);
    };
    sending.open("PUT", request.url);
    for (const [name, value] of Object.entries(request.headers)) sending.setRequestHeader(name, value);
    sending.upload.onprogress = (event) => {
      alive();
      moved(Math.min(event.loaded, blob.size));
    };
    sending.onabort = () => settle(reject, signal.aborted ? signal.reason : new Away("stalled"));
    sending.onerror = () => readable(blob).then((can) => settle(reject, can ? new Away("network") : new Unreadable()));
    sending.onload = () => {
      const { status } = sending;
      if (status < 300) settle(resolve, version(sending));
      else if (status === STANDS_THERE) settle(resolve, null);
      else settle(reject, refusal(status, /<Code>([A-Za-z0-9.]+)<\/Code>/.exec(sending.responseText)?.[1] ?? ""));
    };
    signal.addEventListener("abort", stop, { once: true });
    alive();
    sending.send(blob);
  });
}

function version(sending) {
  const named = /^x-amz-version-id: *(\S+)/im.exec(sending.getAllResponseHeaders())?.[1];
  return named === undefined || named === "null" ? null : named;
}

function refusal(status, code) {
  const said = `${status} ${code}`.trim();
  if (status === 404 && (code === "NoSuchUpload" || code === "")) return new Gone(said);
  if (status === 401 || status === 403) return new Expired(said);
  if (status >= 500 || [408, 409, 429].includes(status) || code === "RequestTimeout") return new Away(said);
  return new Refused(said);
}

// A file that was changed or taken away cannot be read, which to a request looks like a network that is away.
async function readable(blob) {
  try {
    await blob.slice(0, 1).arrayBuffer();
    return true;
  } catch {
    return false;
  }
}
