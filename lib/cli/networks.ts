// Backbones by the names that the command line and configuration files use.
import { invalidOption } from '../errors.js'
import { backbones } from '../networks/all.js'
import type { Network } from '../networks/network.js'

/** All backbones, by name. */
export const namedBackbones = backbones.toSorted((a, b) => (a.name < b.name ? -1 : 1))

/**
 * The backbone of that name, with the options of its function.
 *
 * @throws WbsrError WBSR_INVALID_OPTION
 */
export function makeNetwork(name: unknown, options: Record<string, unknown>): Network {
  const backbone = namedBackbones.find((one) => one.name === name)
  if (!backbone) throw invalidOption('network', `one of ${namedBackbones.map((one) => one.name).join(', ')}`, name)
  return backbone.family(options as never)
}
