// Graphs of ncnn and ONNX: what they become, and what is refused with the layer named.
import t from 'tap'
import { ReadBudget } from '../../lib/files/read-budget.js'
import { readNcnn } from '../../lib/models/graphs/ncnn.js'
import { readOnnx } from '../../lib/models/graphs/onnx-import.js'
import { encodeOnnx, type OnnxModel, type OnnxNode } from '../../lib/models/graphs/onnx-model.js'
import { graphNodes } from '../../lib/networks/nodes.js'
import { ncnnBin, ncnnParam, network, onnxFile } from './helpers/samples.js'

const ncnn = (param: string, bin = ncnnBin()) =>
  readNcnn({ file: 'x.param', bytes: Buffer.from(param) }, { file: 'x.bin', bytes: bin }, new ReadBudget('x', 1e6), {})

t.test('a graph of ncnn', async (t) => {
  const { network: made, tensors, features, blocks } = ncnn(ncnnParam)
  t.equal(made.scale, 2)
  t.same([features, blocks], [4, 3])
  const ops = (nodes: { op: string }[]) => nodes.map(({ op }) => op).sort()
  t.same(ops(graphNodes(made.graph)), ops(graphNodes(network.graph).filter(({ op }) => op !== 'stack')))
  t.same(tensors.get('body.2.weight')!.shape, [4, 4, 3, 3])
  t.equal(tensors.get('body.4.bias')!.read()[0], Math.fround(Math.sin(7) / 4))
})

t.test('weights of ncnn in half precision', async (t) => {
  const full = ncnnBin()
  // The first layer's tag and its 108 numbers, of which all become 1.
  const half = Buffer.alloc(4 + 216, Buffer.from([0x00, 0x3c]))
  half.writeUInt32LE(0x01306b47)
  const { tensors } = ncnn(ncnnParam, Buffer.concat([half, full.subarray(4 + 4 * 108)]))
  t.ok(
    tensors
      .get('body.0.weight')!
      .read()
      .every((v) => v === 1),
  )
  const quantised = Buffer.from(full)
  quantised.writeUInt32LE(0x000d4b38)
  t.throws(() => ncnn(ncnnParam, quantised), {
    code: 'WBSR_INVALID_FILE',
    message: /x\.bin: layer body\.0 is stored with tag 0xd4b38/,
  })
})

t.test('graphs of ncnn that are refused', async (t) => {
  const refuse = (from: string | RegExp, to: string, message: RegExp) =>
    t.throws(() => ncnn(ncnnParam.replace(from, to)), { code: 'WBSR_INVALID_FILE', message })
  refuse('7767517', '7767516', /expected 7767517/)
  refuse('10 11', '9 11', /9 11 layers/)
  refuse('PixelShuffle', 'Softmax', /layer up \(Softmax\) is a kind of layer that is not supported/)
  refuse('1 1 b c', '1 1 z c', /takes z, which no layer before it makes/)
  // A circle: the layer takes what a later one makes.
  refuse('1 1 b c', '1 1 f c', /takes f, which no layer before it makes/)
  refuse('6=144', '6=145', /has 145 weights where 4 filters of 3x3 for 4 channels are expected/)
  refuse('0=4 1=3 4=1 5=1 6=144', '0=4 1=3 2=2 4=1 5=1 6=144', /is dilated/)
  refuse('0=2', '0=3', /12 channels are shuffled by 3/)
  refuse('1=2.0 2=2.0', '1=3.0 2=3.0', /values of 2\/1 and 3\/1 of the picture's size meet/)
  refuse('2 1 f g output', '2 1 f g a', /blob a is made twice/)
  t.throws(() => ncnn(ncnnParam, ncnnBin().subarray(0, 500)), { message: /x\.bin: is too short/ })
  t.throws(() => ncnn(ncnnParam, Buffer.concat([ncnnBin(), Buffer.alloc(4)])), { message: /x\.bin: has \d+ bytes/ })
})

const onnx = (bytes: Uint8Array) => readOnnx('x.onnx', Buffer.from(bytes), new ReadBudget('x', 1e6), {})

t.test('what is exported is read again', async (t) => {
  const { network: made, tensors } = onnx(onnxFile())
  t.equal(made.scale, 2)
  const named = (nodes: { op: string }[]) => nodes.filter(({ op }) => op !== 'stack').map(({ op }) => op)
  t.same(named(graphNodes(made.graph)), named(graphNodes(network.graph)))
  t.same(
    [...tensors.keys()].filter((k) => k.endsWith('bias')),
    ['body.0.bias', 'body.2.bias', 'body.4.bias'],
  )
})

/** A graph of given nodes from 'input' to 'output'. */
function model(...nodes: [string, string[], string, Record<string, number | number[] | string>?][]): Uint8Array {
  const node = nodes.map(
    ([opType, input, output, attributes = {}]): OnnxNode => ({
      opType,
      input,
      output: [output],
      name: output,
      attribute: Object.entries(attributes).map(([name, value]) => {
        if (typeof value === 'string') return { name, s: Buffer.from(value), type: 3 }
        return Array.isArray(value) ? { name, ints: value, type: 7 } : { name, i: value, type: 2 }
      }),
    }),
  )
  const info = (name: string) => ({
    name,
    type: {
      tensorType: {
        elemType: 1,
        shape: { dim: [{ dimValue: 1 }, { dimValue: 3 }, { dimParam: 'h' }, { dimParam: 'w' }] },
      },
    },
  })
  const filters = new Float32Array(12 * 27).fill(0.01)
  const contents: OnnxModel = {
    irVersion: 8,
    opsetImport: [{ domain: '', version: 17 }],
    graph: {
      node,
      initializer: [
        { name: 'w', dims: [12, 3, 3, 3], dataType: 1, rawData: new Uint8Array(filters.buffer) },
        { name: 'half', dims: [1], dataType: 1, rawData: new Uint8Array(Float32Array.of(0.5).buffer) },
        { name: 'elsewhere', dims: [1], dataType: 1, dataLocation: 1 },
      ].slice(0, nodes.some(([, input]) => input.includes('elsewhere')) ? 3 : 2),
      input: [info('input')],
      output: [info('output')],
    },
  }
  return encodeOnnx(contents)
}

const conv: [string, string[], string, Record<string, number[]>] = ['Conv', ['input', 'w'], 'a', { pads: [1, 1, 1, 1] }]
const shuffle = (input: string): [string, string[], string, Record<string, number | string>] => [
  'DepthToSpace',
  [input],
  'output',
  { blocksize: 2, mode: 'CRD' },
]

t.test('operators that are written in several are found again', async (t) => {
  const ops = (...nodes: Parameters<typeof model>) =>
    graphNodes(onnx(model(...nodes)).network.graph).map((n) => ('activation' in n ? n.activation : n.op))
  t.same(ops(conv, shuffle('a')), ['input', 'conv', 'pixelShuffle'])
  t.ok(ops(conv, ['Sigmoid', ['a'], 'b'], ['Mul', ['a', 'b'], 'c'], shuffle('c')).includes('silu'))
  t.ok(ops(conv, ['Mul', ['half', 'a'], 'b'], shuffle('b')).includes('affine'))
  t.same(ops(conv, ['DepthToSpace', ['a'], 'output', { blocksize: 2 }]), ['input', 'conv', 'conv', 'pixelShuffle'])
  // Pixels are cut off at the end in any case.
  t.same(ops(conv, ['DepthToSpace', ['a'], 'b', { blocksize: 2, mode: 'CRD' }], ['Clip', ['b'], 'output']), [
    'input',
    'conv',
    'pixelShuffle',
  ])
})

t.test('graphs of ONNX that are refused', async (t) => {
  const refuse = (bytes: Uint8Array, message: RegExp) =>
    t.throws(() => onnx(bytes), { code: 'WBSR_INVALID_FILE', message })
  refuse(model(conv, ['Softmax', ['a'], 'b'], shuffle('b')), /node b \(Softmax\) is an operator that is not supported/)
  refuse(model(conv, shuffle('z')), /node output \(DepthToSpace\) takes z, which no node before it makes/)
  // A circle.
  refuse(model(['Conv', ['b', 'w'], 'a'], ['Relu', ['a'], 'b'], shuffle('b')), /takes b, which no node before it makes/)
  refuse(model(['Conv', ['input', 'w'], 'a', { pads: [0, 0, 1, 1] }], shuffle('a')), /different pads \[0, 0, 1, 1\]/)
  refuse(model(['Conv', ['input', 'w'], 'a', { dilations: [2, 2] }], shuffle('a')), /is dilated/)
  refuse(model(conv, ['Relu', ['a'], 'a'], shuffle('a')), /value a is made twice/)
  refuse(model(conv, ['Add', ['a', 'elsewhere'], 'b'], shuffle('b')), /stored in another file/)
  refuse(model(conv, ['Relu', ['a'], 'output']), /result has 12 channels, expected 3/)
  const whole = onnxFile()
  for (const length of [1, 40, 400, whole.length - 1]) refuse(whole.subarray(0, length), /ONNX|node|tensor|output|has/)
  // Many empty nodes: small on disk, large when decoded.
  const node = Buffer.from([0x0a, 0x00])
  const nodes = Buffer.concat(
    Array.from({ length: 1 << 16 }, () => Buffer.concat(Array.from({ length: 160 }, () => node))),
  )
  const size: number[] = []
  for (let n = nodes.length; ; n >>>= 7) {
    size.push(n > 127 ? (n & 127) | 128 : n)
    if (n < 128) break
  }
  refuse(Buffer.concat([Buffer.from([0x3a, ...size]), nodes]), /beside its weights/)
})
