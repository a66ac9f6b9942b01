/** What changed between two texts. */

/** Lines that are gone (`-`), new (`+`) and kept (` `); all kept when there is nothing to compare with. */
export function changes(before: string[], after: string[], isFirst = false): string[] {
  if (isFirst) return after.map((line) => ` ${line}`);
  // The longest common part; manifests are short, and longer ones are shown as they are.
  if (before.length * after.length > 4_000_000) return after.map((line) => ` ${line}`);
  const length = Array.from({ length: before.length + 1 }, () => new Uint16Array(after.length + 1));
  const at = (row: number, column: number) => length[row]?.[column] ?? 0;
  for (let row = before.length - 1; row >= 0; row -= 1)
    for (let column = after.length - 1; column >= 0; column -= 1) {
      const line = length[row];
      if (line)
        line[column] =
          before[row] === after[column]
            ? at(row + 1, column + 1) + 1
            : Math.max(at(row + 1, column), at(row, column + 1));
    }
  const found: string[] = [];
  let row = 0;
  let column = 0;
  while (row < before.length || column < after.length) {
    if (row < before.length && column < after.length && before[row] === after[column]) {
      found.push(` ${after[column]}`);
      row += 1;
      column += 1;
    } else if (column >= after.length || (row < before.length && at(row + 1, column) >= at(row, column + 1))) {
      found.push(`-${before[row]}`);
      row += 1;
    } else {
      found.push(`+${after[column]}`);
      column += 1;
    }
  }
  return found;
}

/** How many lines that stay are shown beside one that does not. */
const BESIDE = 3;

/** What changes, with a few lines around it; `⋯` stands for the others. All lines where nothing does. */
export function nearby(lines: string[]): string[] {
  const isChanged = (line: string | undefined) => line?.startsWith("+") || line?.startsWith("-");
  if (!lines.some(isChanged)) return lines;
  const isShown = lines.map((_, at) => lines.slice(Math.max(at - BESIDE, 0), at + BESIDE + 1).some(isChanged));
  return lines.flatMap((line, at) => (isShown[at] ? [line] : isShown[at - 1] || at === 0 ? [" ⋯"] : []));
}
