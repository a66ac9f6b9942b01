/** Colours of a line of output. What else a terminal could be told to do by it is left out: text of others only shows. */
import { plain } from "../format";

export interface Piece {
  text: string;
  className: string;
}

// Colours and styles; anything else that begins with an escape, to its end.
const ESCAPE =
  /\u001b\[([\d;:]*)m|\u001b\[[\d;:<=>?]*[ -/]*[@-~]|\u001b\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|\u001b[PX^_][^\u001b]*(?:\u001b\\)?|\u001b[ -/]*[0-~]?/g;

/** Longer lines are cut: nobody reads them, and a browser stands still over them. */
const LINE_CHARS_MAX = 4000;

/** Cuts a line into pieces of one look each. */
export function pieces(line: string): Piece[] {
  const cut = line.length > LINE_CHARS_MAX ? `${line.slice(0, LINE_CHARS_MAX)} …` : line;
  const found: Piece[] = [];
  const look = { colour: "", bold: false, dim: false, italic: false, underline: false };
  let at = 0;
  const put = (text: string) => {
    if (text === "") return;
    const names = [
      look.colour,
      look.bold && "ansi-b",
      look.dim && "ansi-d",
      look.italic && "ansi-i",
      look.underline && "ansi-u",
    ];
    found.push({ text: plain(text), className: names.filter(Boolean).join(" ") });
  };
  for (const match of cut.matchAll(ESCAPE)) {
    put(cut.slice(at, match.index));
    at = match.index + match[0].length;
    if (match[1] !== undefined) apply(look, match[1]);
  }
  put(cut.slice(at));
  return found;
}

function apply(
  look: { colour: string; bold: boolean; dim: boolean; italic: boolean; underline: boolean },
  parameters: string,
) {
  const codes = parameters === "" ? [0] : parameters.split(/[;:]/).map(Number);
  for (let index = 0; index < codes.length; index += 1) {
    const code = codes[index] ?? 0;
    if (code === 0) Object.assign(look, { colour: "", bold: false, dim: false, italic: false, underline: false });
    else if (code === 1) look.bold = true;
    else if (code === 2) look.dim = true;
    else if (code === 3) look.italic = true;
    else if (code === 4) look.underline = true;
    else if (code === 22) Object.assign(look, { bold: false, dim: false });
    else if (code === 23) look.italic = false;
    else if (code === 24) look.underline = false;
    else if (code === 39) look.colour = "";
    else if ((code >= 30 && code <= 37) || (code >= 90 && code <= 97)) look.colour = `ansi-${code % 10}`;
    else if (code === 38 || code === 48) {
      // A colour of a larger palette: shown by the nearest of ours when it is one of the first sixteen.
      if (codes[index + 1] === 5) {
        const colour = codes[index + 2] ?? 0;
        if (code === 38) look.colour = colour < 16 ? `ansi-${colour % 8}` : "";
        index += 2;
      } else if (codes[index + 1] === 2) index += 4;
    }
  }
}

/** A line without anything but its text. */
export const bare = (line: string): string => line.replace(ESCAPE, "");
