/** Where in a YAML text the cursor is: the keys above it, found by how lines are indented, so that half-typed texts have places too. */

export interface Place {
  /** Keys from the top; `[]` is an item of a list. */
  path: string[];
  /** The key whose value is typed; none while a key itself is. */
  key?: string;
  /** What of the word is there already. */
  word: string;
  /** Where keys of this level stand. */
  column: number;
  /** The document's own lines, of several in one text. */
  lines: string[];
}

interface Line {
  /** Columns of its list marks. */
  marks: number[];
  /** Where its key or value begins. */
  column: number;
  key?: string;
  /** Whether something stands behind the key. */
  hasValue: boolean;
}

const SEPARATOR = /^---(\s|$)/;

function look(text: string): Line | undefined {
  if (/^\s*(#|$)/.test(text)) return undefined;
  const marks: number[] = [];
  let rest = text;
  let column = 0;
  for (;;) {
    const spaces = /^ */.exec(rest)?.[0].length ?? 0;
    column += spaces;
    rest = rest.slice(spaces);
    if (!/^-( |$)/.test(rest)) break;
    marks.push(column);
    column += 1;
    rest = rest.slice(1);
  }
  const found = /^(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|([^\s:#"'[{][^:#]*?))\s*:(?:\s+(.*))?$/.exec(rest);
  const key = found?.[1] ?? found?.[2] ?? found?.[3];
  return { marks, column, key, hasValue: !/^(#.*)?$/.test(found?.[4] ?? "") };
}

/** The place of a position, in lines and columns from 0. */
export function placeAt(all: string[], row: number, column: number): Place {
  let first = row;
  while (first > 0 && !SEPARATOR.test(all[first - 1] ?? "")) first -= 1;
  let last = row + 1;
  while (last < all.length && !SEPARATOR.test(all[last] ?? "")) last += 1;

  const before = (all[row] ?? "").slice(0, column);
  const here = look(before) ?? { marks: [], column: before.length, hasValue: false };
  const value = /^[\s-]*(?:"[^"]*"|'[^']*'|[^\s:#"'][^:#]*?):\s+(.*)$/.exec(before);
  const path: string[] = [];
  let level = here.column;
  // Whether a list may stand in the same column as the key that it belongs to.
  let isItem = false;
  const enter = (marks: number[]) => {
    for (const mark of marks.toReversed()) {
      if (mark >= level) continue;
      path.unshift("[]");
      level = mark;
      isItem = true;
    }
  };
  enter(here.marks);
  for (let at = row - 1; at >= first && (level > 0 || isItem); at -= 1) {
    const line = look(all[at] ?? "");
    if (!line) continue;
    if (
      line.key !== undefined &&
      !line.hasValue &&
      (line.column < level || (isItem && line.column === level && line.marks.length === 0))
    ) {
      path.unshift(line.key);
      level = line.column;
      isItem = false;
      enter(line.marks);
    } else if (
      line.column <= level &&
      line.marks.some((mark) => mark < level) &&
      !(isItem && line.marks.includes(level))
    ) {
      enter(line.marks);
    }
  }
  return {
    path,
    key: value ? look(before)?.key : undefined,
    word: value ? (value[1] ?? "") : before.slice(here.column),
    column: here.column,
    lines: all.slice(first, last),
  };
}
