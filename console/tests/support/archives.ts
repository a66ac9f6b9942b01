/** What is uploaded: the sample as a zip, and an image with a real shell, made of this machine's own programs. */
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { tar } from "../../src/upload/tar";
import { setting } from "./server";

interface Entry {
  name: string;
  data: Buffer;
}

/** A zip whose entries are stored as they are. */
export function zip(entries: Entry[]): Buffer {
  const locals: Buffer[] = [];
  const centrals: Buffer[] = [];
  let offset = 0;
  for (const { name, data } of entries) {
    const path = Buffer.from(name);
    const common = Buffer.alloc(26);
    common.writeUInt16LE(20, 0);
    common.writeUInt16LE(0x800, 2);
    common.writeUInt16LE(0x21, 8);
    common.writeUInt32LE(crc32(data), 10);
    common.writeUInt32LE(data.length, 14);
    common.writeUInt32LE(data.length, 18);
    common.writeUInt16LE(path.length, 22);
    const central = Buffer.alloc(14);
    central.writeUInt32LE((0o100755 << 16) >>> 0, 6);
    central.writeUInt32LE(offset, 10);
    const local = Buffer.concat([Buffer.from("PK\u0003\u0004"), common, path, data]);
    // The central record has one more version in front, and its own fields between the lengths and the name.
    const fixed = Buffer.concat([Buffer.from("PK\u0001\u0002"), Buffer.from([20, 3]), common, central]);
    locals.push(local);
    centrals.push(Buffer.concat([fixed, path]));
    offset += local.length;
  }
  const directory = Buffer.concat(centrals);
  const end = Buffer.alloc(18);
  end.writeUInt16LE(entries.length, 4);
  end.writeUInt16LE(entries.length, 6);
  end.writeUInt32LE(directory.length, 8);
  end.writeUInt32LE(offset, 12);
  return Buffer.concat([...locals, directory, Buffer.from("PK\u0005\u0006"), end]);
}

/** The sample as people pack it. */
export function sample(): Buffer {
  const folder = setting("LONGSHORE_TEST_HELLO");
  return zip(
    ["Dockerfile", "hello"].map((name) => ({ name: `hello/${name}`, data: readFileSync(join(folder, name)) })),
  );
}

const PROGRAMS = {
  dash: "sh",
  cat: "cat",
  sleep: "sleep",
  ls: "ls",
  rm: "rm",
  mkdir: "mkdir",
  stty: "stty",
  find: "find",
  seq: "seq",
};

/** A context for an image in which /bin/sh is a real shell. */
export async function shell(command = '["/bin/sleep", "3600"]'): Promise<Uint8Array> {
  const files = new Map<string, Buffer>([["Dockerfile", Buffer.from(`FROM scratch\nCOPY root /\nCMD ${command}\n`)]]);
  for (const [program, name] of Object.entries(PROGRAMS)) {
    const path = [`/bin/${program}`, `/usr/bin/${program}`].find(existsSync);
    if (!path) throw new Error(`${program} is missing here`);
    files.set(`root/bin/${name}`, readFileSync(path));
    for (const word of execFileSync("ldd", [path], { encoding: "utf8" }).split(/\s+/))
      if (word.startsWith("/")) files.set(`root${word}`, readFileSync(word));
  }
  files.set("root/etc/passwd", Buffer.from("root:x:0:0:root:/:/bin/sh\n"));
  files.set("root/tmp/.keep", Buffer.from(""));
  const packed = [...files].map(([path, data]) => ({ path, file: new File([new Uint8Array(data)], path) }));
  return new Uint8Array(await tar(packed).arrayBuffer());
}
