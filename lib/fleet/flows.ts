// Jobs as flows of BullMQ: bands as children of the file that they become.
import type { FlowJob } from 'bullmq'
import type { FileManifest } from './manifest.js'
import { fileOptions, type JobName, workOptions } from './queues.js'

/** The flow of a picture or a video. folder: the id of the job that it is part of. */
export function flowOf(
  manifest: FileManifest,
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
  const [name, part, parts]: [JobName, JobName, readonly { flops: number }[]] =
    manifest.kind === 'bands' ? ['assemble', 'band', manifest.bands] : ['video', 'segment', manifest.segments]
  const order = parts.map((_, index) => index).sort((a, b) => parts[b]!.flops - parts[a]!.flops)
  return {
    name,
    queueName: queues.files,
    data,
    opts: { ...fileOptions(id, attempts), ...inFolder },
    children: order.map((index) => ({
      name: part,
      queueName: queues.work,
      data: { ...data, index },
      opts: { ...workOptions(id, index, attempts), failParentOnFailure: true },
    })),
  }
}

const workOptionsOf = (id: string, attempts: number) => workOptions(id, null, attempts)
