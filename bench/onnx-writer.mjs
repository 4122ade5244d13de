// Writes one of our networks, at its full width and depth, as an ONNX file, so that ONNX Runtime can run the very same
// weights in the benchmark. ONNX is a protocol buffer; the few message types that are needed are written by hand here
// (field numbers from onnx.proto3). Opset 13: Conv, Relu, LeakyRelu, Add, DepthToSpace (CRD, which is PixelShuffle's
// order), Resize (linear, half_pixel).

const utf8 = (text) => Buffer.from(text, 'utf8')

function varint(value) {
  const bytes = []
  let rest = BigInt.asUintN(64, BigInt(value))
  do {
    const low = Number(rest & 0x7fn)
    rest >>= 7n
    bytes.push(rest === 0n ? low : low | 0x80)
  } while (rest !== 0n)
  return Buffer.from(bytes)
}

const key = (field, wire) => varint((field << 3) | wire)
const integer = (field, value) => Buffer.concat([key(field, 0), varint(value)])
const bytes = (field, value) => Buffer.concat([key(field, 2), varint(value.length), value])
const text = (field, value) => bytes(field, utf8(value))
const message = (field, ...parts) => bytes(field, Buffer.concat(parts))
function float(field, value) {
  const four = Buffer.alloc(4)
  four.writeFloatLE(value)
  return Buffer.concat([key(field, 5), four])
}

// AttributeProto: name = 1, f = 2, i = 3, s = 4, ints = 8, type = 20 (FLOAT 1, INT 2, STRING 3, INTS 7).
const attribute = {
  float: (name, value) => message(5, text(1, name), float(2, value), integer(20, 1)),
  string: (name, value) => message(5, text(1, name), text(4, value), integer(20, 3)),
  integer: (name, value) => message(5, text(1, name), integer(3, value), integer(20, 2)),
  integers: (name, values) => message(5, text(1, name), ...values.map((v) => integer(8, v)), integer(20, 7)),
}

/** NodeProto: input = 1, output = 2, name = 3, op_type = 4, attribute = 5. */
const node = (op, inputs, output, ...attributes) =>
  message(1, ...inputs.map((name) => text(1, name)), text(2, output), text(3, output), text(4, op), ...attributes)

/** TensorProto: dims = 1, data_type = 2 (FLOAT 1), name = 8, raw_data = 9. */
const tensor = (name, shape, data) =>
  message(
    5,
    ...shape.map((d) => integer(1, d)),
    integer(2, 1),
    text(8, name),
    bytes(9, Buffer.from(data.buffer, data.byteOffset, data.byteLength)),
  )

/** ValueInfoProto of a float tensor; a string is a free dimension. */
function valueInfo(field, name, shape) {
  const dims = shape.map((d) => message(1, typeof d === 'string' ? text(2, d) : integer(1, d)))
  return message(field, text(1, name), message(2, message(1, integer(1, 1), message(2, ...dims))))
}

/**
 * An ONNX model (Buffer) of `network` (lib/networks) with `weights`: name -> { shape, data: Float32Array }.
 * Input `lr` (batch, 3, height, width), output `sr` (batch, 3, height * scale, width * scale), all sizes free.
 */
export function writeOnnx(network, weights) {
  const { nodes, output } = network.graph
  const depth = Math.max(...network.depths)
  const parts = []
  const constants = []
  const names = []
  const nameOf = (index) => names[index]
  nodes.forEach((n, i) => {
    const inputs = n.inputs.map(nameOf)
    const name = n.op === 'input' ? 'lr' : i === output ? 'sr' : `v${i}`
    if (n.op === 'stack') {
      names.push(inputs[depth])
      return
    }
    names.push(name)
    switch (n.op) {
      case 'input':
        return
      case 'conv': {
        const pad = (n.kernel - 1) / 2
        const tensors = [`${n.name}.weight`, ...(n.bias ? [`${n.name}.bias`] : [])]
        for (const t of tensors) constants.push(tensor(t, weights[t].shape, weights[t].data))
        parts.push(
          node(
            'Conv',
            [...inputs, ...tensors],
            name,
            attribute.integers('kernel_shape', [n.kernel, n.kernel]),
            attribute.integers('pads', [pad, pad, pad, pad]),
          ),
        )
        return
      }
      case 'activation':
        if (n.activation === 'relu') parts.push(node('Relu', inputs, name))
        else if (n.activation === 'leakyRelu')
          parts.push(node('LeakyRelu', inputs, name, attribute.float('alpha', n.slope)))
        else parts.push(node('Sigmoid', inputs, name))
        return
      case 'add':
        parts.push(node('Add', inputs, name))
        return
      case 'pixelShuffle':
        parts.push(
          node('DepthToSpace', inputs, name, attribute.integer('blocksize', n.factor), attribute.string('mode', 'CRD')),
        )
        return
      case 'upsample':
        if (n.cubic) throw new Error('bicubic upsampling is not written')
        constants.push(tensor(`${name}.scales`, [4], new Float32Array([1, 1, n.factor, n.factor])))
        parts.push(
          node(
            'Resize',
            [inputs[0], '', `${name}.scales`],
            name,
            attribute.string('mode', 'linear'),
            attribute.string('coordinate_transformation_mode', 'half_pixel'),
          ),
        )
        return
      default:
        throw new Error(`${n.op} is not written`)
    }
  })
  const graph = message(
    7,
    ...parts,
    text(2, network.name),
    ...constants,
    valueInfo(11, 'lr', ['batch', 3, 'height', 'width']),
    valueInfo(12, 'sr', ['batch', 3, 'height4', 'width4']),
  )
  return Buffer.concat([integer(1, 8), text(2, 'wbsr bench'), graph, message(8, text(1, ''), integer(2, 13))])
}
