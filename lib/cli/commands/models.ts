// wbsr models, import and export: their options and help. What they do is in lib/cli/models.ts.
import type { Command } from 'commander'
import type { ExportFlags, ImportFlags, ModelsFlags } from '../flags.js'
import { integer, number } from '../values.js'

export function modelsCommand(program: Command): void {
  program
    .command('models')
    .summary('what models there are, or what a file holds')
    .description(
      'Lists the models of the package, and the backbones that can be trained and whose published weights are recognised; or ' +
        'describes files.',
    )
    .argument('[file...]', 'models to describe')
    .option('--json', 'JSON on standard output')
    .addHelpText(
      'after',
      `
Examples:
  wbsr models                      models of the package, backbones
  wbsr models x2.safetensors       architecture, subnets and training of a model
  wbsr models 4x.pth --json`,
    )
    .action(async (files: string[], flags: ModelsFlags) => {
      const { listModels } = await import('../models.js')
      await listModels(files, flags)
    })
}

export function importCommand(program: Command): void {
  program
    .command('import')
    .summary("turn another tool's model into a file of wbsr")
    .description(
      'Reads a model of another tool (.pth, .safetensors, .onnx, .param + .bin) and writes it as one safetensors file with ' +
        'everything that wbsr needs to run it.',
    )
    .argument('<file>', 'the model')
    .argument('<out>', 'the new file, .safetensors')
    .option('--scale <factor>', 'where the file does not say it', integer(1, 8))
    .option('--range <most>', 'values that the network sees: 1 or 255', number(1, 65535))
    .addHelpText(
      'after',
      `
Examples:
  wbsr import 4x-AnyModel.pth any.safetensors
  wbsr import model.param model.safetensors`,
    )
    .action(async (file: string, out: string, flags: ImportFlags) => {
      const { importModel } = await import('../models.js')
      await importModel(file, out, flags)
    })
}

export function exportCommand(program: Command): void {
  program
    .command('export')
    .summary('write a subnet as ONNX or as safetensors for other tools')
    .description('Writes one subnet of a model for other tools; the extension of the new file says in which format.')
    .argument('<model>', 'a model of wbsr or of another tool')
    .argument('<out>', 'the new file, .onnx or .safetensors')
    .option(
      '--subnet <index>',
      "which one, from 0 (default: the largest; 'wbsr models FILE' lists them)",
      integer(0, 9999),
    )
    .addHelpText(
      'after',
      `
Examples:
  wbsr export x2.safetensors x2.onnx
  wbsr export x2.safetensors small.safetensors --subnet 0`,
    )
    .action(async (model: string, out: string, flags: ExportFlags) => {
      const { exportModel } = await import('../models.js')
      await exportModel(model, out, flags)
    })
}
