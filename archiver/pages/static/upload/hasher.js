// A worker that computes SHA-256 of files, one after the other, in pieces: memory does not grow with a file's size.
import { sha256 } from "../vendor/noble-hashes-2.4.0/sha2.js";

const PIECE_BYTES = 4 * 2 ** 20;
const stopped = new Set();
let last = Promise.resolve();

onmessage = ({ data: { id, file } }) => {
  if (file === undefined) stopped.add(id);
  else last = last.then(() => hash(id, file));
};

async function hash(id, file) {
  try {
    const digest = sha256.create();
    for (let start = 0; start < file.size; start += PIECE_BYTES) {
      if (stopped.delete(id)) return;
      digest.update(new Uint8Array(await file.slice(start, start + PIECE_BYTES).arrayBuffer()));
      postMessage({ id, bytes: Math.min(start + PIECE_BYTES, file.size) });
    }
    postMessage({ id, sha256: Array.from(digest.digest(), (byte) => byte.toString(16).padStart(2, "0")).join("") });
  } catch (error) {
    postMessage({ id, error: String(error) });
  }
}
