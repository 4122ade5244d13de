// wbsr models, import and export.
import path from 'node:path'
import { loadModel, type SupernetModel } from '../index.js'
import { type ShippedModel, shippedModels } from '../models/shipped.js'
import { Ended, EXIT, messageOf, UsageError } from './exit.js'
import type { ExportFlags, ImportFlags, ModelsFlags } from './flags.js'
import { listenForInterrupts } from './interrupt.js'
import { openModel } from './model.js'
import { namedBackbones } from './networks.js'
import { Terminal, table } from './terminal.js'

const print = (text: string) => process.stdout.write(`${text}\n`)
const printJson = (value: unknown) => print(JSON.stringify(value, null, 2))

/** Only the description is wanted: no GPU is started for it. */
const ON_CPU = { device: 'cpu', threads: 1 } as const

export async function listModels(files: string[], { json = false }: ModelsFlags): Promise<void> {
  listenForInterrupts()
  if (files.length === 0) {
    listBackbones(json)
    return
  }
  const terminal = new Terminal()
  const described: unknown[] = []
  let failed = 0
  for (const file of files) {
    try {
      await using model = await openModel(file, ON_CPU)
      if (json) described.push({ file, ...facts(model) })
      else print(`${described.length > 0 ? '\n' : ''}${inWords(file, model)}`)
      described.push(null)
    } catch (error) {
      failed++
      terminal.error(messageOf(error))
    }
  }
  if (json) printJson(described.filter((entry) => entry !== null))
  if (failed > 0) throw new Ended(failed === files.length ? EXIT.failed : EXIT.partial)
}

function listBackbones(json: boolean): void {
  const rows = namedBackbones.map(({ name, title }) => ({ name, title }))
  const shipped = shippedModels()
  if (json) {
    printJson({ shipped, backbones: rows })
    return
  }
  if (shipped.length > 0) {
    print('Models of the package, for --model:\n')
    print(table(shipped.map(shippedRow)))
    print('')
  }
  print('Backbones, to train (wbsr train --network NAME) and whose published weights are recognised:\n')
  print(table(rows.map(({ name, title }) => [`  ${name}`, title])))
  print('\nAny ONNX or ncnn graph of the operators that wbsr has is run, too (docs/models.md).')
}

function shippedRow({ name, input, parameters, scores }: ShippedModel): string[] {
  const [first] = scores
  const gain = first ? `${first.set}: ${(first.largest - first.bicubic).toFixed(2)} dB over bicubic` : ''
  return [`  ${name}`, `${input} pictures`, `${parameters} parameters`, gain]
}

function facts(model: SupernetModel) {
  const { architecture, subnets, router, training, classes } = model
  return { architecture, subnets, calibrated: router !== null, classes: classes.count, training }
}

function inWords(file: string, model: SupernetModel): string {
  const { architecture, subnets, router } = model
  const { title, scale, format, parameters, features, blocks } = architecture
  const rows = subnets.map(({ index, width, depth, flops, parameters: count }) => [
    `  ${index}`,
    String(width),
    String(depth),
    (flops / 1e9).toPrecision(4),
    String(count),
  ])
  return [
    `${file}: ${title}, x${scale}, ${parameters} parameters (${features} channels, ${blocks} blocks; ${format})`,
    `router table: ${router ? `measured on ${router.tiles} tiles` : 'none'}`,
    table([['  subnet', 'width', 'depth', 'GFLOPs per 32x32', 'parameters'], ...rows]),
  ].join('\n')
}

function extensionOf(file: string, known: readonly string[]): string {
  const extension = path.extname(file).toLowerCase()
  if (!known.includes(extension))
    throw new UsageError(`Expected a file name ending in ${known.join(' or ')} but received ${file}`)
  return extension
}

export async function importModel(file: string, out: string, { scale, range }: ImportFlags): Promise<void> {
  extensionOf(out, ['.safetensors'])
  listenForInterrupts()
  await using model = await loadModel(file, {
    ...ON_CPU,
    ...(scale !== undefined && { scale }),
    ...(range !== undefined && { range }),
  })
  await model.save(out)
  new Terminal().line(
    `${file} -> ${out}  ${model.architecture.title}, x${model.scale}, ${model.architecture.parameters} parameters`,
  )
}

export async function exportModel(name: string, out: string, { subnet }: ExportFlags): Promise<void> {
  const extension = extensionOf(out, ['.onnx', '.safetensors'])
  listenForInterrupts()
  await using model = await openModel(name, ON_CPU)
  const options = subnet === undefined ? {} : { subnet }
  if (extension === '.onnx') await model.exportOnnx(out, options)
  else await model.exportSafetensors(out, options)
  const { width, depth, index } = model.subnets[subnet ?? model.subnets.length - 1]!
  new Terminal().line(`${name} -> ${out}  subnet ${index} (width ${width}, depth ${depth})`)
}
