// Finds repeated keys in JSON: JSON.parse silently keeps the last of two equal keys, which would hide a tensor of a model.

/**
 * The first key that an object of the text has twice, or null. Keys are compared after unescaping.
 * @param text JSON that JSON.parse accepts
 */
export function repeatedKey(text: string): string | null {
  // One set of keys per open object, null per open array.
  const open: (Set<string> | null)[] = []
  const token = /"(?:[^"\\]|\\.)*"(\s*:)?|[{}[\]]/gs
  for (let match = token.exec(text); match; match = token.exec(text)) {
    const first = match[0][0]
    if (first === '{') open.push(new Set())
    else if (first === '[') open.push(null)
    else if (first === '}' || first === ']') open.pop()
    else if (match[1] !== undefined) {
      const key = JSON.parse(match[0].slice(0, -match[1].length)) as string
      const keys = open.at(-1)
      if (keys?.has(key)) return key
      keys?.add(key)
    }
  }
  return null
}
