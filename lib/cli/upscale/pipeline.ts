// Three pictures at a time: while one runs, the next is decoded and the last is encoded. A failure belongs to its picture;
// the others go on.
import { markHandled } from '../../promises.js'

export interface Stages<Job, Decoded, Result> {
  decode(job: Job): Promise<Decoded>
  run(decoded: Decoded, job: Job): Promise<Result>
  encode(result: Result, job: Job): Promise<void>
  /** What was decoded is not needed any more: after a failure, or because the pipeline ends. */
  discard(decoded: Decoded): Promise<void>
}

/**
 * Runs the jobs in order. `settled` gets each of them, in order, with the error of a failure, and says whether to go on.
 * When it resolves nothing is running and what was not finished is discarded.
 */
export async function runPipeline<Job, Decoded, Result>(
  jobs: readonly Job[],
  stages: Stages<Job, Decoded, Result>,
  settled: (job: Job, error: unknown) => boolean,
): Promise<void> {
  let going = true
  const settle = (job: Job, error: unknown) => {
    going = settled(job, error) && going
  }
  const decode = (index: number) => (index < jobs.length ? markHandled(stages.decode(jobs[index]!)) : null)
  let next = jobs.length > 0 ? decode(0) : null
  let encoding: Promise<void> = Promise.resolve()
  for (let index = 0; going && next; index++) {
    const job = jobs[index]!
    let decoded: { value: Decoded } | null = null
    let failure: unknown
    try {
      decoded = { value: await next }
    } catch (error) {
      failure = error
    }
    next = going ? decode(index + 1) : null
    if (!decoded) {
      await encoding
      settle(job, failure)
      continue
    }
    const { value } = decoded
    if (!going) {
      await stages.discard(value)
      break
    }
    try {
      const result = await stages.run(value, job)
      await encoding
      encoding = stages.encode(result, job).then(
        () => settle(job, undefined),
        (error: unknown) => settle(job, error),
      )
    } catch (error) {
      await encoding
      await stages.discard(value)
      settle(job, error)
    }
  }
  await encoding
  // What was decoded ahead and does not run any more.
  const rest = next
  if (rest) await rest.then((value) => stages.discard(value)).catch(() => {})
}
