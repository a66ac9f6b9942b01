/** What was dropped or chosen: one archive, or a folder's files. */
import type { Packed } from "./tar";

export interface Chosen {
  /** What it is called, without an ending. */
  name: string;
  archive?: File;
  files?: Packed[];
}

const ARCHIVE = /\.(zip|tar|tar\.gz|tgz)$/i;
/** What no image needs from a folder. */
const LEFT_OUT = new Set([".git", ".hg", ".svn", "node_modules", "__pycache__", ".DS_Store", ".venv"]);
const FILES_MAX = 50_000;

export const isArchive = (name: string): boolean => ARCHIVE.test(name);

const isLeftOut = (path: string): boolean => path.split("/").some((part) => LEFT_OUT.has(part));

/** A folder that was chosen in the browser's own dialog. */
export function fromFolder(list: FileList): Chosen | undefined {
  const files = Array.from(list);
  const top = files[0]?.webkitRelativePath.split("/")[0];
  if (!top) return undefined;
  const packed = files.map((file) => ({ path: file.webkitRelativePath.slice(top.length + 1), file }));
  return { name: top, files: packed.filter(({ path }) => !isLeftOut(path)) };
}

/** What was dropped; nothing when it is neither an archive nor a folder. */
export async function fromDrop(transfer: DataTransfer): Promise<Chosen | undefined> {
  // Entries are only there until the event has ended.
  const entries = Array.from(transfer.items, (item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  const files = Array.from(transfer.files);
  const [first] = entries;
  if (entries.length === 1 && first && isFolder(first)) {
    const found: Packed[] = [];
    await walk(first, "", found);
    return { name: first.name, files: found };
  }
  const [file] = files;
  if (files.length === 1 && file && isArchive(file.name))
    return { name: file.name.replace(ARCHIVE, ""), archive: file };
  if (entries.length > 1) {
    const found: Packed[] = [];
    for (const entry of entries) await take(entry, "", found);
    return { name: "", files: found };
  }
  return undefined;
}

const isFolder = (entry: FileSystemEntry): entry is FileSystemDirectoryEntry => entry.isDirectory;
const isFile = (entry: FileSystemEntry): entry is FileSystemFileEntry => entry.isFile;

async function take(entry: FileSystemEntry, before: string, found: Packed[]) {
  if (LEFT_OUT.has(entry.name) || found.length >= FILES_MAX) return;
  if (isFolder(entry)) await walk(entry, `${before}${entry.name}/`, found);
  else if (isFile(entry))
    found.push({
      path: before + entry.name,
      file: await new Promise<File>((resolve, reject) => entry.file(resolve, reject)),
    });
}

async function walk(folder: FileSystemDirectoryEntry, before: string, found: Packed[]) {
  const reader = folder.createReader();
  for (;;) {
    // A reader gives a hundred at a time, and nothing at the end.
    const entries = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (entries.length === 0) return;
    for (const entry of entries) await take(entry, before, found);
  }
}

/** A name for an image, from what something is called. */
export function imageName(name: string): string {
  const slug = name
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-+|-+$/g, "");
  return `${slug || "app"}:v1`;
}
