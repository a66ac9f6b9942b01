import { expect, test } from "vitest";
import { ago, bytes, moment, parseBytes, plain, shellBytes, shellWord, shortImage, span } from "./format";

test("sizes are written in the unit that fits", () => {
  expect(bytes(0, "en")).toBe("0 B");
  expect(bytes(1023, "en")).toBe("1,023 B");
  expect(bytes(1536, "en")).toBe("1.5 KiB");
  expect(bytes(40 * 1024 ** 3, "zh")).toBe("40 GiB");
  expect(bytes(1024 ** 6, "en")).toBe("1,048,576 TiB");
});

test("times are told in the reader's language", () => {
  const now = Date.parse("2026-01-02T12:00:00Z");
  expect(ago("2026-01-02T11:57:00Z", "en", now)).toBe("3 minutes ago");
  expect(ago("2026-01-02T11:57:00Z", "zh", now)).toBe("3分钟前");
  expect(ago("2026-01-02T12:00:00Z", "en", now)).toBe("now");
  expect(ago("2026-01-02T12:00:03Z", "en", now)).toBe("now");
  expect(ago("2026-01-02T12:05:00Z", "en", now)).toBe("in 5 minutes");
  expect(moment("not a time", "en")).toBe("not a time");
  expect(span(3725, "en")).toBe("1 hr 2 min");
  expect(span(-3, "en")).toBe("0 sec");
});

test("sizes that people type are read, and nothing else is", () => {
  expect(parseBytes("512m")).toBe(512 * 1024 ** 2);
  expect(parseBytes(" 1.5 GiB ")).toBe(1.5 * 1024 ** 3);
  expect(parseBytes("1000")).toBe(1000);
  for (const wrong of ["", "much", "-1g", "1x", "1 2"]) expect(parseBytes(wrong)).toBeUndefined();
  expect(parseBytes(shellBytes(1536 * 1024 ** 2))).toBe(1536 * 1024 ** 2);
});

test("text that hides or turns around is made visible", () => {
  expect(plain("a\u202eb\u0007c\u200bd")).toBe("a‹U+202E›b‹U+0007›c‹U+200B›d");
  expect(plain("two\nlines\tand 中文")).toBe("two\nlines\tand 中文");
});

test("words for a shell are quoted when they have to be", () => {
  expect(shellWord("alice/hello:1")).toBe("alice/hello:1");
  expect(shellWord("it's; rm -rf $HOME")).toBe(`'it'\\''s; rm -rf $HOME'`);
  expect(shellWord("")).toBe("''");
});

test("an image is called by its name, not by where it is", () => {
  const digest = `@sha256:${"0".repeat(64)}`;
  expect(shortImage(`10.241.1.1:5000/alice/web:v1${digest}`)).toBe("alice/web:v1");
  expect(shortImage(`registry.example.org/team/web:v1`)).toBe("team/web:v1");
  for (const image of ["alice/web:v1", "busybox:1.36", "busybox"]) expect(shortImage(image)).toBe(image);
});
