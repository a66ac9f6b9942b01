/** Makes a tar of a folder's files without reading them: a Blob of headers and the files themselves, streamed when it is sent. */

export interface Packed {
  path: string;
  file: File;
}

const BLOCK = 512;
const encoder = new TextEncoder();

/** The archive of these files. */
export function tar(files: Packed[]): Blob {
  const parts: BlobPart[] = [];
  for (const { path, file } of files) {
    const name = encoder.encode(path);
    if (name.length > 100 || name.length !== path.length) {
      // A name that the old header has no room for, or that is not plain ASCII, stands in a record before it.
      const record = pax("path", path);
      parts.push(header("PaxHeader", record.length, "x", 0), record, padding(record.length));
    }
    parts.push(header(path, file.size, "0", file.lastModified / 1000), file, padding(file.size));
  }
  parts.push(new Uint8Array(BLOCK * 2));
  return new Blob(parts, { type: "application/x-tar" });
}

function header(path: string, size: number, kind: string, time: number): Uint8Array<ArrayBuffer> {
  const block = new Uint8Array(BLOCK);
  const put = (text: string, at: number, length: number) => block.set(encoder.encode(text).subarray(0, length), at);
  const octal = (value: number, digits: number) => Math.max(0, Math.floor(value)).toString(8).padStart(digits, "0");
  put(path, 0, 100);
  // Browsers do not say what may be executed: a script that is to run is called with its shell, or everything may be.
  put(octal(0o755, 7), 100, 8);
  put(octal(0, 7), 108, 8);
  put(octal(0, 7), 116, 8);
  if (size < 8 ** 11) put(octal(size, 11), 124, 12);
  else sizeInBase256(block, size);
  put(octal(time, 11), 136, 12);
  put("        ", 148, 8);
  put(kind, 156, 1);
  put("ustar", 257, 6);
  put("00", 263, 2);
  const sum = block.reduce((sum, byte) => sum + byte, 0);
  put(`${octal(sum, 6)}\0 `, 148, 8);
  return block;
}

function sizeInBase256(block: Uint8Array, size: number) {
  block[124] = 0x80;
  let rest = size;
  for (let at = 135; at > 124; at -= 1) {
    block[at] = rest % 256;
    rest = Math.floor(rest / 256);
  }
}

/** A record says its own length, in bytes, and the length of that number is part of it. */
function pax(key: string, value: string): Uint8Array<ArrayBuffer> {
  const rest = encoder.encode(` ${key}=${value}\n`).length;
  let length = rest + String(rest).length;
  if (String(length).length > String(rest).length) length = rest + String(length).length;
  return encoder.encode(`${length} ${key}=${value}\n`);
}

const padding = (size: number) => new Uint8Array((BLOCK - (size % BLOCK)) % BLOCK);
