// Model files whose contents are damaged inside of an intact container.
import path from 'node:path'
import t from 'tap'
import { readSafetensors, writeSafetensors } from '../../lib/files/safetensors.js'
import { loadSupernet } from '../../lib/models/model.js'
import { writeModelFile } from '../../lib/models/model-file.js'
import { srresnet } from '../../lib/networks/srresnet.js'
import { realState } from '../support/real-state.js'

const options = { device: 'cpu', threads: 1 } as const

async function modelIn(folder: string) {
  const file = path.join(folder, 'model.safetensors')
  const state = realState(srresnet({ scale: 2, widths: [4, 8], depths: [1, 2] }))
  await writeModelFile(file, state)
  state.engine.dispose()
  return { file, ...(await readSafetensors(file)) }
}

t.test('weights that are not finite are refused, and named', async (t) => {
  const { file, tensors, metadata } = await modelIn(t.testdir({}))
  for (const value of [NaN, Infinity, -Infinity]) {
    const list = [...tensors.values()].map((tensor) =>
      tensor.name === 'HRconv.weight' ? { ...tensor, data: (tensor.data as Float32Array).slice() } : tensor,
    )
    const damaged = list.find(({ name }) => name === 'HRconv.weight')!
    damaged.data[5] = value
    await writeSafetensors(file, list, metadata)
    await t.rejects(loadSupernet(file, options), {
      code: 'WBSR_INVALID_FILE',
      message: new RegExp(`tensor HRconv.weight holds ${value} at position 5`),
    })
  }
})

t.test('a graph whose nodes are damaged is an invalid file', async (t) => {
  const { file, tensors, metadata } = await modelIn(t.testdir({}))
  type Node = Record<string, unknown>
  const changes: [string, (nodes: (Node | null)[]) => void][] = [
    ['a node is null', (nodes) => (nodes[3] = null)],
    ['channels are null', (nodes) => (nodes[1]!['channels'] = null)],
    ['channels are missing', (nodes) => delete nodes[1]!['channels']],
    ['a name is a number', (nodes) => (nodes[1]!['name'] = 7)],
    ['an operator is not known', (nodes) => (nodes[1]!['op'] = 'none')],
    ['a kernel is a string', (nodes) => (nodes[1]!['kernel'] = 'x')],
    ['a kernel is huge', (nodes) => (nodes[1]!['kernel'] = 1e9)],
    ['inputs are null', (nodes) => (nodes[1]!['inputs'] = null)],
    ['an input is the node itself', (nodes) => (nodes[1]!['inputs'] = [1])],
  ]
  for (const [name, change] of changes) {
    const network = JSON.parse(metadata['wbsr.network']!) as { graph: { nodes: (Node | null)[] } }
    change(network.graph.nodes)
    await writeSafetensors(file, [...tensors.values()], { ...metadata, 'wbsr.network': JSON.stringify(network) })
    await t.rejects(loadSupernet(file, options), { code: 'WBSR_INVALID_FILE' }, name)
  }
})
