// Who started this process, and the connection to the other ranks, of which a process has one.
import { WbsrError, wrapError } from '../../errors.js'
import { type Communicator, native } from '../../native.js'

/** Set by the launcher: of Open MPI (mpirun), and of those that speak PMIx (srun --mpi=pmix, Open MPI 5). */
const RANK_VARIABLES = ['OMPI_COMM_WORLD_RANK', 'PMIX_RANK'] as const

/**
 * The rank of this process among those that mpirun started, by the variables that it sets: 0 where it was started by itself. For
 * what one rank alone shall do, such as saving the model.
 */
export function launchedRank(): number {
  const value = RANK_VARIABLES.map((name) => process.env[name]).find((text) => text !== undefined)
  return value === undefined ? 0 : Number(value)
}

interface Opened {
  communicator: Communicator | null
  rank: number
  ranks: number
}

/** The tag of the message with which a rank leaves for good. */
export const LEAVING = 32767

let opened: Promise<Opened> | null = null
let runs = 0

/** Runs of this process that asked so far; every rank counts the same. */
export async function openCommunicator(): Promise<Opened & { run: number }> {
  const run = runs++
  opened ??= open()
  return { ...(await opened), run }
}

async function open(): Promise<Opened> {
  if (RANK_VARIABLES.every((name) => process.env[name] === undefined)) {
    const others = Number(process.env['PMI_SIZE'] ?? 1)
    if (others > 1)
      throw new WbsrError(
        'WBSR_NO_DEVICE',
        `${others} processes were started by the launcher of another MPI; start them with that of Open MPI (mpirun)`,
      )
    return { communicator: null, rank: 0, ranks: 1 }
  }
  const communicator = new native.Communicator()
  try {
    const { rank, ranks } = await communicator.open()
    process.prependOnceListener('exit', (status) => leave(communicator, rank, ranks, status))
    return { communicator, rank, ranks }
  } catch (error) {
    throw wrapError(error)
  }
}

/**
 * A process that ends well tells the others, in case they are in a run, and waits until they end too, as MPI wants it. One that
 * fails just ends: mpirun then ends the others, which it would not do while this one waits for them.
 */
function leave(communicator: Communicator, rank: number, ranks: number, status: number): void {
  if (status !== 0) return
  const cancel = new Int32Array(1)
  for (let to = 0; to < ranks; to++)
    if (to !== rank) communicator.send(to, LEAVING, new Uint8Array(0), cancel).catch(() => {})
  try {
    communicator.close()
  } catch (error) {
    process.stderr.write(`wbsr: ${(error as Error).message}\n`)
  }
}
