/**
 * The candidate that was probably meant by a name which is none of them.
 * @returns null: none is near enough. A short name may differ by one edit, one of twelve characters or more by two.
 */
export function nearest(name: string, candidates: Iterable<string>): string | null {
  let best: string | null = null;
  let least = name.length < 12 ? 2 : 3;
  for (const candidate of candidates) {
    if (Math.abs(candidate.length - name.length) >= least) continue;
    const edits = editsBetween(name, candidate);
    if (edits < least) [best, least] = [candidate, edits];
  }
  return best;
}

/** Characters to add, leave out, replace or swap with their neighbour (optimal string alignment). */
function editsBetween(from: string, to: string): number {
  let before: number[] = [];
  let above = Array.from({ length: to.length + 1 }, (_, column) => column);
  for (let row = 1; row <= from.length; row++) {
    const current = [row];
    for (let column = 1; column <= to.length; column++) {
      const isSame = from[row - 1] === to[column - 1];
      const edits = [
        at(above, column) + 1,
        at(current, column - 1) + 1,
        at(above, column - 1) + (isSame ? 0 : 1),
        ...(isSwapped(from, to, row, column) ? [at(before, column - 2) + 1] : []),
      ];
      current.push(Math.min(...edits));
    }
    [before, above] = [above, current];
  }
  return at(above, to.length);
}

function isSwapped(from: string, to: string, row: number, column: number): boolean {
  return row > 1 && column > 1 && from[row - 1] === to[column - 2] && from[row - 2] === to[column - 1];
}

function at(counts: readonly number[], index: number): number {
  return counts[index] ?? Number.POSITIVE_INFINITY;
}
