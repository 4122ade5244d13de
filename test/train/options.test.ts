import { availableParallelism } from 'node:os'
import t from 'tap'
import { srresnet } from '../../lib/networks/srresnet.js'
import { checkTrainOptions } from '../../lib/train/options.js'

const network = srresnet({ scale: 2, widths: [8, 16], depths: [1, 2] })
const base = { network, data: { train: 'photos/' } }

t.test('defaults are those of the paper', async (t) => {
  const settings = checkTrainOptions(base)
  t.same(settings.length, { epochs: 100 })
  t.equal(settings.batchSize, 16)
  t.equal(settings.patchSize, 128)
  t.match(settings.sampler, { classes: 10, classLevelFrom: 0.7, delta: 0.9, thresholds: 'interval' })
  t.same(settings.optimizer, {
    learningRate: 2e-4,
    finalLearningRate: 1e-7,
    betas: [0.9, 0.999],
    epsilon: 1e-8,
    weightDecay: 0,
  })
  t.equal(settings.ema, 0.999)
  t.equal(settings.subnetsPerStep, 'sandwich')
  t.equal(settings.distillation, 0)
  t.equal(settings.seed, 1)
  t.same(settings.device, {
    device: 'auto',
    threads: availableParallelism(),
    precision: undefined,
    autotune: undefined,
  })
  t.equal(settings.checkpoint, null)
  t.match(checkTrainOptions({ ...base, checkpoint: { directory: 'runs' } }).checkpoint, {
    directory: 'runs',
    everySteps: 500,
    resume: 'auto',
  })
  t.equal(checkTrainOptions({ ...base, ema: false }).ema, 0)
  t.equal(checkTrainOptions({ ...base, optimizer: { learningRate: 1e-8 } }).optimizer.finalLearningRate, 1e-8)
})

t.test('every bad option is named with what was expected', async (t) => {
  const cases: [unknown, string][] = [
    [undefined, 'Expected an object for options but received undefined'],
    [{ ...base, stepz: 3 }, 'Expected no other keys than network, data, steps'],
    [{ ...base, stepz: 3 }, 'for options but received "stepz"'],
    [{ data: base.data }, 'Expected a network such as srresnet({ scale: 4 }) for network but received undefined'],
    [
      { ...base, network: { ...network, graph: { ...network.graph, output: 999 } } },
      'for network.graph.output but received 999',
    ],
    [
      { ...base, network: { ...network, widths: [16, 8] } },
      'Expected ascending distinct values for network.widths but received [16, 8]',
    ],
    [{ network }, 'Expected an object for data but received undefined'],
    [
      { network, data: {} },
      'Expected a folder, a pattern or a list of image files for data.train but received undefined',
    ],
    [{ network, data: { train: [] } }, 'for data.train but received []'],
    [{ network, data: { train: 'a', validation: 5 } }, 'for data.validation but received 5'],
    [{ network, data: { train: 'a', lr: '' } }, 'for data.lr but received ""'],
    [
      { network, data: { train: 'a', validationLr: 'b' } },
      'Expected nothing without data.validation for data.validationLr but received "b"',
    ],
    [{ network, data: { train: 'a', tests: 'b' } }, 'for data but received "tests"'],
    [{ network, data: { train: 'a', memory: -1 } }, 'Expected a number of at least 0 for data.memory but received -1'],
    [{ network, data: { train: 'a', cache: true } }, 'Expected a non-empty string for data.cache but received true'],
    [{ ...base, steps: 10, epochs: 2 }, 'Expected only one for steps and epochs but received [10, 2]'],
    [{ ...base, steps: 0 }, 'for steps but received 0'],
    [{ ...base, steps: 1.5 }, 'for steps but received 1.5'],
    [{ ...base, epochs: '3' }, 'for epochs but received "3"'],
    [{ ...base, batchSize: 0 }, 'Expected an integer between 1 and 4096 for batchSize but received 0'],
    [{ ...base, distillation: 1.5 }, 'Expected a number between 0 and 1 for distillation but received 1.5'],
    [
      { ...base, distillation: 0.5, subnetsPerStep: 'single' },
      "Expected nothing with subnetsPerStep 'single' for distillation but received 0.5",
    ],
    [{ ...base, patchSize: 33 }, 'Expected a multiple of the scale 2 for patchSize but received 33'],
    [{ ...base, patchSize: 4 }, 'Expected an integer between 8 and 4096 for patchSize but received 4'],
    [{ ...base, sampler: { classes: 1 } }, 'for sampler.classes but received 1'],
    [{ ...base, sampler: { delta: 0 } }, 'for sampler.delta but received 0'],
    [
      { ...base, sampler: { thresholds: 'even' } },
      `Expected one of 'interval', 'quantile' for sampler.thresholds but received "even"`,
    ],
    [{ ...base, sampler: { strata: 3 } }, 'for sampler but received "strata"'],
    [
      { ...base, optimizer: { learningRate: NaN } },
      'Expected a number of at least 0 for optimizer.learningRate but received NaN',
    ],
    [
      { ...base, optimizer: { learningRate: 1e-3, finalLearningRate: 1 } },
      'Expected a number between 0 and 0.001 for optimizer.finalLearningRate but received 1',
    ],
    [{ ...base, optimizer: { betas: [0.9] } }, 'Expected two numbers for optimizer.betas but received [0.9]'],
    [
      { ...base, optimizer: { betas: [0.9, 1] } },
      'Expected a number of at least 0 and below 1 for optimizer.betas[1] but received 1',
    ],
    [{ ...base, optimizer: { epsilon: 0 } }, 'for optimizer.epsilon but received 0'],
    [{ ...base, optimizer: { momentum: 0.9 } }, 'for optimizer but received "momentum"'],
    [{ ...base, ema: 1 }, 'Expected false or a number of at least 0 and below 1 for ema but received 1'],
    [{ ...base, ema: true }, 'for ema but received true'],
    [
      { ...base, subnetsPerStep: 'all' },
      `Expected one of 'sandwich', 'single', 'single-by-cost' for subnetsPerStep but received "all"`,
    ],
    [{ ...base, seed: -1 }, 'Expected an integer of at least 0 for seed but received -1'],
    [{ ...base, device: 'gpu' }, `Expected one of 'auto', 'cpu', 'cuda', 'cuda:N' for device but received "gpu"`],
    [{ ...base, threads: 0 }, 'Expected an integer between 1 and 1024 for threads but received 0'],
    [{ ...base, signal: {} }, 'Expected an AbortSignal for signal but received an object (Object)'],
    [{ ...base, checkpoint: 'runs' }, 'Expected an object for checkpoint but received "runs"'],
    [{ ...base, checkpoint: {} }, 'Expected a non-empty string for checkpoint.directory but received undefined'],
    [{ ...base, checkpoint: { directory: 'a', every: 5 } }, 'for checkpoint but received "every"'],
    [
      { ...base, checkpoint: { directory: 'a', resume: 1 } },
      `Expected 'auto', a boolean or a file for checkpoint.resume but received 1`,
    ],
    [{ ...base, sampler: null }, 'Expected a value or undefined for sampler but received null'],
    [
      { ...base, optimizer: { learningRate: null } },
      'Expected a value or undefined for optimizer.learningRate but received null',
    ],
    [
      { ...base, validateEverySteps: 5 },
      'Expected no value without data.validation for validateEverySteps but received 5',
    ],
    [
      { network, data: { train: 'a', validation: 'b' }, validateEverySteps: 0 },
      'for validateEverySteps but received 0',
    ],
    [
      { ...base, calibration: { tileSize: 8 } },
      'Expected an integer between 16 and 256 for calibration.tileSize but received 8',
    ],
    [
      { ...base, calibration: { pixels: 0 } },
      'Expected an integer of at least 1 for calibration.pixels but received 0',
    ],
    [{ ...base, from: 5 }, 'Expected a SupernetModel or a file for from but received 5'],
    [{ ...base, extend: true }, 'Expected a non-empty string for extend but received true'],
    [{ ...base, from: 'a', extend: 'b' }, 'Expected no value together with from for extend but received "b"'],
    [{ ...base, divergence: false }, `Expected one of 'stop', 'ignore' for divergence but received false`],
    [{ ...base, onProgress: {} }, 'Expected a function for onProgress but received an object (Object)'],
    [{ ...base, onStep: 'log' }, 'Expected a function for onStep but received "log"'],
  ]
  for (const [options, message] of cases) {
    try {
      checkTrainOptions(options)
      t.fail(`accepted, expected: ${message}`)
    } catch (error) {
      t.match(error, { name: 'WbsrError', code: 'WBSR_INVALID_OPTION' }, message)
      t.ok((error as Error).message.includes(message), `${(error as Error).message} | ${message}`)
    }
  }
})
