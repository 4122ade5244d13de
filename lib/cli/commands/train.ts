// wbsr train: its options and help. What it does is in lib/cli/train.ts.
import { type Command, Option } from 'commander'
import { DISTRIBUTED } from '../../train/distributed/options.js'
import { LOSSES } from '../../train/loss-names.js'
import type { TrainFlags } from '../flags.js'
import { deviceFlags } from '../model.js'
import { integer, integers, number } from '../values.js'

const MOST = 2 ** 31 - 1

export function trainCommand(program: Command): void {
  deviceFlags(
    program
      .command('train')
      .summary('train a model on photographs')
      .description(
        'Trains a supernet on photographs and writes it as one file. A run that was stopped goes on where it was when the ' +
          'same command is given again. docs/training.md is the guide.',
      )
      .argument('[photographs...]', 'folders, patterns in quotes or files of HR photographs')
      .option(
        '-c, --config <file>',
        'JSON with the options of trainSupernet and "network": {"name": "srresnet", ...}, "out"; options given here win',
      )
      .option('-o, --out <file>', 'the model (default: model.safetensors)')
      .option('-n, --network <name>', "srresnet (default), rcan, span ...: 'wbsr models' lists them")
      .option('-s, --scale <factor>', '2 (default), 3 or 4', integer(1, 8))
      .option('--preset <name>', 'of srresnet: paper or fast')
      .option('--widths <list>', 'of the subnets, e.g. 16,32', integers)
      .option('--depths <list>', 'of the subnets, e.g. 1,2,4', integers)
      .option('--validation <path...>', 'HR photographs to validate on')
      .option('--lr <path...>', 'LR files of the photographs (default: made by antialiased bicubic)')
      .addOption(new Option('--steps <count>', 'optimizer steps').argParser(integer(1, MOST)).conflicts('epochs'))
      .option('--epochs <count>', 'passes over the photographs (default: 100)', integer(1, MOST))
      .option('--batch <patches>', 'per step (default: 16)', integer(1, 4096))
      .option(
        '--micro-batches <count>',
        'into which a batch is cut (default: 1; with --distributed up to 8)',
        integer(1, 4096),
      )
      .addOption(
        new Option('--distributed <how>', 'on several processes or GPUs (docs/distributed.md)').choices(DISTRIBUTED),
      )
      .option('--patch <pixels>', 'HR pixels of a patch (default: 128)', integer(8, 4096))
      .option('--learning-rate <rate>', 'of the first step (default: 2e-4)', number(0, 10))
      .addOption(new Option('--loss <name>', 'default: bd').choices(LOSSES))
      .option('--frequency <weight>', "of the loss's frequency term (default: 0, none)", number(0, 10))
      .option('--seed <number>', 'default: 1', integer(0, MOST))
      .option('--from <file>', 'start from the weights of a model or checkpoint')
      .addOption(
        new Option('--extend <path>', 'go on from a finished or stopped run, with other options').conflicts('from'),
      )
      .option(
        '--checkpoint <folder>',
        'of the run (default: the name of the model with .run in place of its extension)',
      )
      .option('--no-checkpoint', 'keep nothing of a run that is stopped')
      .option('--report <file>', 'page about the run, written while it runs (default: report.html in that folder)')
      .option('--no-report', 'no such page')
      .option('--resume <when>', 'auto (default), yes, no, or a checkpoint file')
      .option('--json', 'one JSON object per report on standard output')
      .option('--quiet', 'errors only'),
  )
    .addHelpText(
      'after',
      `
Examples:
  wbsr train photos/ -o x2.safetensors --steps 20000 --validation held-out/
  wbsr train photos/ --network srresnet --widths 16,32 --depths 1,2,4 --batch 8 --patch 64 --epochs 20
  wbsr train -c run.json --steps 500
  wbsr train photos/ -o better.safetensors --extend x2.run --steps 5000
  mpirun -n 2 wbsr train photos/ -o x2.safetensors --distributed mpi --threads 4`,
    )
    .action(async (photographs: string[], flags: TrainFlags) => {
      const { train } = await import('../train.js')
      await train(photographs, flags)
    })
}
