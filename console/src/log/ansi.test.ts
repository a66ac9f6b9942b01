import { expect, test } from "vitest";
import { bare, pieces } from "./ansi";

test("colours and styles become classes and end where they are ended", () => {
  expect(pieces("\u001b[1;31mred\u001b[0m plain \u001b[32mgreen\u001b[39m")).toEqual([
    { text: "red", className: "ansi-1 ansi-b" },
    { text: " plain ", className: "" },
    { text: "green", className: "ansi-2" },
  ]);
  expect(pieces("\u001b[38;5;12mblue\u001b[m")).toEqual([{ text: "blue", className: "ansi-4" }]);
  expect(pieces("\u001b[38;2;255;0;0mtrue\u001b[4mline")).toEqual([
    { text: "true", className: "" },
    { text: "line", className: "ansi-u" },
  ]);
});

test("what would move, erase, rename or report does nothing", () => {
  const hostile =
    "a\u001b[2J\u001b[H\u001b]0;title\u0007\u001b]8;;http://x\u001b\\b\u001b[6n\u001bP+q\u001b\\c\u001bcd";
  expect(bare(hostile)).toBe("abcd");
  expect(
    pieces(hostile)
      .map((piece) => piece.text)
      .join(""),
  ).toBe("abcd");
});

test("a line of a million characters is cut", () => {
  const [piece] = pieces("x".repeat(1_000_000));
  expect(piece?.text.length).toBeLessThan(4100);
});
