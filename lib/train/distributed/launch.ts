// Who started this process, and the connection to the other ranks, of which a process has one.
import { invalidOption, WbsrError, wrapError } from '../../errors.js'
import { type Communicator, native } from '../../native.js'
import type { Distributed } from './options.js'
import { type Rendezvous, SocketCommunicator } from './sockets.js'
import { LEAVING } from './tags.js'

/** Set by the launcher: of Open MPI (mpirun), and of those that speak PMIx (srun --mpi=pmix, Open MPI 5). */
const MPI_RANK = ['OMPI_COMM_WORLD_RANK', 'PMIX_RANK'] as const
const MPI_LOCAL_RANK = ['OMPI_COMM_WORLD_LOCAL_RANK', 'PMIX_LOCAL_RANK'] as const

/** The file through which ranks meet that no MPI has started; RANK, LOCAL_RANK and WORLD_SIZE count then. */
const RENDEZVOUS = 'WBSR_RENDEZVOUS'

function first(names: readonly string[]): number | null {
  const value = names.map((name) => process.env[name]).find((text) => text !== undefined)
  return value === undefined ? null : Number(value)
}

const meets = (): boolean => Boolean(process.env[RENDEZVOUS])

/**
 * The rank of this process among those that were started together, by the variables that the launcher sets: 0 where it was
 * started by itself. For what one rank alone shall do, such as saving the model.
 */
export function launchedRank(): number {
  return first(MPI_RANK) ?? (meets() ? Number(process.env['RANK'] ?? 0) : 0)
}

/** The same among those on this machine. */
export function launchedLocalRank(): number {
  return first(MPI_LOCAL_RANK) ?? Number((meets() && process.env['LOCAL_RANK']) || launchedRank())
}

interface Opened {
  communicator: Communicator | null
  rank: number
  ranks: number
}

let opened: Promise<Opened> | null = null
let runs = 0

/** Runs of this process that asked so far; every rank counts the same. */
export async function openCommunicator(how: Distributed): Promise<Opened & { run: number }> {
  const run = runs++
  opened ??= open(how)
  return { ...(await opened), run }
}

/** By MPI where mpirun has started the process, else through a file. A process by itself has no connection. */
async function open(how: Distributed): Promise<Opened> {
  if (first(MPI_RANK) !== null) return await join(new native.Communicator())
  if (meets()) {
    if (how === 'mpi')
      throw new WbsrError(
        'WBSR_INVALID_OPTION',
        `Expected 'nccl' for distributed, as ${RENDEZVOUS} is set, but received 'mpi'`,
      )
    return await join(new SocketCommunicator(rendezvousOf(process.env)))
  }
  const others = Number(process.env['PMI_SIZE'] ?? 1)
  if (others > 1)
    throw new WbsrError(
      'WBSR_NO_DEVICE',
      `${others} processes were started by the launcher of another MPI; start them with that of Open MPI (mpirun)`,
    )
  return { communicator: null, rank: 0, ranks: 1 }
}

async function join(communicator: Communicator): Promise<Opened> {
  try {
    const { rank, ranks } = await communicator.open()
    process.prependOnceListener('exit', (status) => leave(communicator, rank, ranks, status))
    return { communicator, rank, ranks }
  } catch (error) {
    throw wrapError(error)
  }
}

/** @throws WbsrError WBSR_INVALID_OPTION */
function rendezvousOf(env: NodeJS.ProcessEnv): Rendezvous {
  const numberOf = (name: string, least: number, most: number): number => {
    const value = Number(env[name] || Number.NaN)
    if (!Number.isInteger(value) || value < least || value > most)
      throw invalidOption(`${name} in the environment`, `an integer between ${least} and ${most}`, env[name])
    return value
  }
  const ranks = numberOf('WORLD_SIZE', 1, 4096)
  return { file: env[RENDEZVOUS]!, ranks, rank: numberOf('RANK', 0, ranks - 1) }
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
