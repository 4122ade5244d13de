// wbsr fleet: its options and help. What it does is in lib/cli/fleet/.
import { Argument, type Command } from 'commander'
import type { FleetFlags } from '../flags.js'
import { deviceFlags, routingFlags } from '../model.js'
import { integer, integers, number } from '../values.js'
import { videoFlags } from './video.js'

export function fleetCommand(program: Command): void {
  const command = deviceFlags(
    routingFlags(
      program
        .command('fleet')
        .summary('enlarge on several machines, by a queue in Redis')
        .description(
          'Enlarges very large pictures, many pictures and videos on several machines (docs/fleet.md). They share a queue in ' +
            'Redis (BullMQ) and a store, which is a folder that all of them see or a bucket of S3.',
        )
        .addArgument(
          new Argument('<action>', 'what to do').choices([
            'worker',
            'plan',
            'submit',
            'status',
            'save',
            'cancel',
            'clean',
          ]),
        )
        .argument('[words...]', 'plan, submit: pictures and folders, or a video; status, save, cancel: the id of a job')
        .option(
          '--redis <url>',
          'redis://HOST:PORT, or redis-sentinel://HOST:PORT,.../NAME (default: WBSR_REDIS, else redis://127.0.0.1:6379)',
        )
        .option('--store <place>', 'a folder or s3://BUCKET/PREFIX (default: WBSR_STORE of the environment)')
        .option('--name <text>', 'of the fleet, where several share a Redis (default: wbsr)')
        .option('-m, --model <file...>', 'a model; worker: those that it may use (default: all, from the store)')
        .option(
          '-o, --out <name>',
          'submit: name of the result in the store; of several pictures: of its folder; save: the file',
        )
        .option('--wait', 'submit, status: until the job is done, with progress')
        .option('--save <file>', 'submit: wait, and copy the result to a file of this machine'),
    ),
  )
  videoFlags(command)
    .option('--segment <frames>', 'of a video that one worker does (default: 96)', integer(1, 1 << 20))
    .option('--band-seconds <s>', 'predicted seconds of a band on one worker (default: 20)', number(0.01, 86_400))
    .option('--bands <count>', 'instead: how many bands a picture is cut into', integer(1, 100_000))
    .option('--attempts <count>', 'for a band that fails, before the job does (default: 3)', integer(1, 20))
    .option('--workers <counts>', 'plan: for how many workers (default: 1,2,4,8,16,32,64)', integers)
    .option(
      '--lock <s>',
      'worker: seconds until the jobs of one that was killed go to others (default: 30)',
      number(1, 3600),
    )
    .option('--crashes <count>', 'worker: processes that may die over one job (default: 5)', integer(0, 1000))
    .option('--metrics <port>', 'worker: serve figures for Prometheus at this port', integer(0, 65_535))
    .option('--hours <count>', 'clean: age of what is removed (default: 24)', number(0, 1e6))
    .option('--json', 'JSON objects on standard output')
    .option('--quiet', 'errors only')
    .addHelpText(
      'after',
      `
Examples:
  wbsr fleet worker --redis redis://queue:6379 --store /mnt/store
  wbsr fleet plan map.tif --workers 1,4,16
  wbsr fleet submit map.tif --redis redis://queue:6379 --store /mnt/store --save map-x2.tif
  wbsr fleet submit clip.mp4 --save clip-x2.mp4
  wbsr fleet submit scans/ --store s3://bucket/fleet --out scans-x2 --wait
  wbsr fleet status --store /mnt/store`,
    )
    .action(async (action: string, words: string[], flags: FleetFlags) => {
      const { fleet } = await import('../fleet/actions.js')
      await fleet(action, words, flags)
    })
}
