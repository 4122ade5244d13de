// Contestants are programs of their own (so that none shares a thread pool, an allocator or a garbage collector with
// another) that answer one JSON line per JSON line. They run one after the other, in turns, so that whatever else the
// machine does hits all of them alike; while one runs the others wait in a blocking read.
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'

export class Contestant {
  #child
  #answers
  #stderr = ''

  /** @param name for tables; `command` with `args` speaks the protocol: {"do": ...} in, {...} or {"error": text} out. */
  constructor(name, command, args, env = {}) {
    this.name = name
    this.#child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'], env: { ...process.env, ...env } })
    this.#child.stderr.setEncoding('utf8').on('data', (chunk) => {
      this.#stderr = (this.#stderr + chunk).slice(-4000)
    })
    this.#child.on('error', (error) => {
      this.#stderr += error.message
    })
    this.#child.stdin.on('error', () => {})
    this.#answers = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]()
  }

  /** Sends a request and resolves with its answer. */
  async ask(request) {
    this.#child.stdin.write(`${JSON.stringify(request)}\n`)
    const { value, done } = await this.#answers.next()
    if (done) throw new Error(`${this.name} ended early\n${this.#stderr}`)
    const answer = JSON.parse(value)
    if (answer.error !== undefined) throw new Error(`${this.name}: ${answer.error}`)
    return answer
  }

  /** Ends the program and waits for its end. */
  async close() {
    const ended = this.#child.exitCode !== null || this.#child.signalCode !== null
    const end = ended ? null : new Promise((resolve) => this.#child.once('close', resolve))
    this.#child.stdin.end()
    await end
  }
}

/** Answers requests of a Contestant with `handlers[request.do](request)`, for contestants written in JavaScript. */
export async function serve(handlers) {
  for await (const line of createInterface({ input: process.stdin })) {
    let answer
    try {
      const request = JSON.parse(line)
      answer = (await handlers[request.do](request)) ?? {}
    } catch (error) {
      answer = { error: error instanceof Error ? error.stack : String(error) }
    }
    process.stdout.write(`${JSON.stringify(answer)}\n`)
  }
}

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/**
 * `rounds` turns of every entrant { name, contestant, request }, each round beginning with another one; one round before
 * that is not counted. Resolves with name -> { seconds: median, all: seconds of every round, answers }.
 */
export async function inTurns(entrants, rounds) {
  const results = Object.fromEntries(entrants.map(({ name }) => [name, { seconds: 0, all: [], answers: [] }]))
  for (let round = -1; round < rounds; round++) {
    for (let i = 0; i < entrants.length; i++) {
      const { name, contestant, request } = entrants[(i + round + 1) % entrants.length]
      const answer = await contestant.ask(request)
      if (round < 0) continue
      results[name].all.push(answer.seconds)
      results[name].answers.push(answer)
    }
  }
  for (const result of Object.values(results)) result.seconds = median(result.all)
  return results
}
