// Text tables for the terminal.

/**
 * Columns aligned: the first two left, numbers right.
 * @param {string[]} header
 * @param {string[][]} rows
 */
export function alignedTable(header, rows) {
  const widths = header.map((title, c) => Math.max(title.length, ...rows.map((row) => row[c].length)))
  const line = /** @param {string[]} cells */ (cells) =>
    cells
      .map((cell, c) => (c < 2 ? cell.padEnd(widths[c]) : cell.padStart(widths[c])))
      .join('  ')
      .trimEnd()
  return [line(header), line(widths.map((w) => '-'.repeat(w))), ...rows.map(line)].join('\n')
}
