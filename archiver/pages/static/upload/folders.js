// What was dropped or chosen, as [path, file]: folders are gone through, however deep, and a path begins with the folder's own name.

// `seen(count)` is told how many files were found. What cannot be read is given as [path, null].
export async function dropped(transfer, seen) {
  const entries = [];
  const found = [];
  for (const item of transfer.items) {
    if (item.kind !== "file") continue;
    const entry = item.webkitGetAsEntry?.();
    if (entry) entries.push(entry);
    else found.push([item.getAsFile().name, item.getAsFile()]);
  }
  while (entries.length > 0) {
    const entry = entries.pop();
    const path = entry.fullPath.replace(/^\//, "");
    try {
      if (entry.isDirectory) entries.push(...(await inside(entry)));
      else found.push([path, await new Promise((resolve, reject) => entry.file(resolve, reject))]);
    } catch {
      found.push([path, null]);
    }
    seen(found.length);
  }
  return found;
}

async function inside(folder) {
  const reader = folder.createReader();
  const all = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)); // a hundred at a time
    if (some.length === 0) return all;
    all.push(...some);
  }
}

export const chosen = (files) => Array.from(files, (file) => [file.webkitRelativePath || file.name, file]);
