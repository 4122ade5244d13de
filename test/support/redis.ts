// A Redis server of a test's own, on a free port, with its data in a temporary folder.
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout } from 'node:timers/promises'

/** Reason to skip tests that need redis-server, or false. */
export function withoutRedis(): string | false {
  const { status } = spawnSync('redis-server', ['--version'])
  return status === 0 ? false : 'redis-server is not installed (apt-get install redis-server)'
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  return port
}

export class RedisServer {
  readonly port: number
  readonly folder = mkdtempSync(path.join(tmpdir(), 'wbsr-redis-'))
  #process: ChildProcess | null = null

  private constructor(port: number) {
    this.port = port
  }

  static async start(...options: string[]): Promise<RedisServer> {
    const server = new RedisServer(await freePort())
    await server.run(...options)
    return server
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`
  }

  /** Starts it, again after stop: with the jobs that it had, as everything is written to its log. */
  async run(...options: string[]): Promise<void> {
    const fixed = ['--port', String(this.port), '--bind', '127.0.0.1', '--dir', this.folder, '--save', '']
    const log = ['--appendonly', 'yes', '--appendfsync', 'always']
    this.#process = spawn('redis-server', [...fixed, ...log, ...options], { stdio: 'ignore' })
    for (let i = 0; i < 200; i++) {
      if (spawnSync('redis-cli', ['-p', String(this.port), 'ping'], { encoding: 'utf8' }).stdout.trim() === 'PONG')
        return
      await setTimeout(25)
    }
    throw new Error('redis-server did not start')
  }

  command(...words: string[]): string {
    return execFileSync('redis-cli', ['-p', String(this.port), ...words], { encoding: 'utf8' })
  }

  /** Kills it. */
  async stop(): Promise<void> {
    const child = this.#process
    this.#process = null
    if (!child || child.exitCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  }

  async remove(): Promise<void> {
    await this.stop()
    rmSync(this.folder, { recursive: true, force: true })
  }
}
