/** A pattern for messages that name a file, whatever characters its path has, followed by what `more` matches. */
export function naming(file: string, more = ''): RegExp {
  return new RegExp(file.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&') + more)
}
