// Checks whether a value is a network, for networks given as an option and read from a file. Only the structure is
// checked here: the native graph checks the meaning of the nodes.
import { invalidOption } from '../errors.js'
import { checkInteger, checkString } from '../options.js'
import type { Network } from './network.js'

const LEVELS = { widths: 1024, depths: 256 }
const MAX_NODES = 100_000

/** @throws WbsrError WBSR_INVALID_OPTION with what is wrong inside `name` */
export function checkNetwork(value: unknown, name: string): Network {
  const network = record(value, name, 'a network such as srresnet({ scale: 4 })')
  checkString(network['name'], `${name}.name`)
  checkInteger(network['scale'], `${name}.scale`, 1, 8)
  const graph = record(network['graph'], `${name}.graph`, 'an object')
  for (const [key, max] of Object.entries(LEVELS)) {
    checkLevels(network[key], `${name}.${key}`, max)
    if (JSON.stringify(graph[key]) !== JSON.stringify(network[key]))
      throw invalidOption(`${name}.graph.${key}`, `the same as ${name}.${key}`, graph[key])
  }
  if (graph['scale'] !== network['scale'])
    throw invalidOption(`${name}.graph.scale`, `the same as ${name}.scale`, graph['scale'])
  const nodes = graph['nodes']
  if (!Array.isArray(nodes) || nodes.length === 0 || nodes.length > MAX_NODES)
    throw invalidOption(`${name}.graph.nodes`, 'a non-empty array of nodes', nodes)
  nodes.forEach((node: unknown, i) => {
    const at = `${name}.graph.nodes[${i}]`
    const inputs = record(node, at, 'an object')['inputs']
    if (!Array.isArray(inputs)) throw invalidOption(`${at}.inputs`, 'an array of earlier nodes', inputs)
    inputs.forEach((input, k) => checkInteger(input, `${at}.inputs[${k}]`, 0, i - 1))
  })
  checkInteger(graph['output'], `${name}.graph.output`, 0, nodes.length - 1)
  return value as Network
}

function record(value: unknown, name: string, expected: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalidOption(name, expected, value)
  return value as Record<string, unknown>
}

/** Ascending widths or depths. @throws WbsrError WBSR_INVALID_OPTION */
export function checkLevels(value: unknown, name: string, max: number): asserts value is number[] {
  if (!Array.isArray(value) || value.length === 0) throw invalidOption(name, 'a non-empty array of integers', value)
  value.forEach((v, i) => checkInteger(v, `${name}[${i}]`, 1, max))
  if (value.some((v: number, i) => i > 0 && v <= value[i - 1]))
    throw invalidOption(name, 'ascending distinct values', value)
}

/** The first difference of two networks ("here" is the second one) as text; null: they are the same. */
export function networkDifference(there: Network, here: Network): string | null {
  for (const key of ['name', 'scale', 'widths', 'depths', 'graph'] as const) {
    const [a, b] = [JSON.stringify(there[key]), JSON.stringify(here[key])]
    if (a !== b) return key === 'graph' ? 'their graphs differ' : `${key} is ${a} there and ${b} here`
  }
  return null
}
