// Jobs as flows of BullMQ: bands as children of the file that they become.
import type { FlowJob } from 'bullmq'
import type { BandsManifest, PictureManifest } from './manifest.js'
import { fileOptions, type JobName, workOptions } from './queues.js'

/** The flow of a picture. folder: the id of the job that it is part of. */
export function flowOf(
  manifest: BandsManifest | PictureManifest,
  queues: { files: string; work: string },
  folder: string | null,
  attempts: number,
): FlowJob {
  const data = { run: manifest.id }
  const id = folder === null ? manifest.id : `${folder}.${manifest.id}`
  // A picture that fails does not fail the folder.
  const inFolder = folder === null ? {} : { ignoreDependencyOnFailure: true }
  if (manifest.kind === 'picture')
    return {
      name: 'picture' satisfies JobName,
      queueName: queues.work,
      data,
      opts: { ...(folder === null ? fileOptions : workOptionsOf)(id, attempts), ...inFolder },
    }
  const order = manifest.bands
    .map((_, index) => index)
    .sort((a, b) => manifest.bands[b]!.flops - manifest.bands[a]!.flops)
  return {
    name: 'assemble' satisfies JobName,
    queueName: queues.files,
    data,
    opts: { ...fileOptions(id, attempts), ...inFolder },
    children: order.map((index) => ({
      name: 'band' satisfies JobName,
      queueName: queues.work,
      data: { ...data, index },
      opts: { ...workOptions(id, index, attempts), failParentOnFailure: true },
    })),
  }
}

const workOptionsOf = (id: string, attempts: number) => workOptions(id, null, attempts)
