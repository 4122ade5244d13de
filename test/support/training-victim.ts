// A run that writes a checkpoint after every step until it is killed. Arguments: folder of images, folder of checkpoints.
import { trainSupernet } from '../../lib/index.js'
import { run } from './training.js'

const [train, directory] = process.argv.slice(2) as [string, string]
await trainSupernet(
  run(train, { steps: 1_000_000, checkpoint: { directory, everySteps: 1 }, onStep: ({ step }) => process.send!(step) }),
)
