// A Redis with a replica, and three sentinels that make the replica the master when the master is gone.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { until } from './cli.js'
import { freePort, RedisServer } from './redis.js'

const NAME = 'queue'
const SENTINELS = 3

export class WatchedRedis {
  readonly master: RedisServer
  readonly replica: RedisServer
  readonly ports: number[]
  readonly #children: ChildProcess[]
  readonly #folder: string

  private constructor(master: RedisServer, replica: RedisServer, ports: number[], folder: string) {
    this.master = master
    this.replica = replica
    this.ports = ports
    this.#folder = folder
    this.#children = ports.map((port) => {
      const file = path.join(folder, `${port}.conf`)
      const lines = [
        `port ${port}`,
        'bind 127.0.0.1',
        `dir ${folder}`,
        `sentinel monitor ${NAME} 127.0.0.1 ${master.port} 2`,
        `sentinel down-after-milliseconds ${NAME} 1000`,
        `sentinel failover-timeout ${NAME} 4000`,
      ]
      writeFileSync(file, `${lines.join('\n')}\n`)
      return spawn('redis-server', [file, '--sentinel'], { stdio: 'ignore' })
    })
  }

  static async start(): Promise<WatchedRedis> {
    const master = await RedisServer.start()
    const replica = await RedisServer.start('--replicaof', '127.0.0.1', String(master.port))
    await until(() => replica.command('info', 'replication').includes('master_link_status:up'))
    const ports: number[] = []
    while (ports.length < SENTINELS) ports.push(await freePort())
    const watched = new WatchedRedis(master, replica, ports, mkdtempSync(path.join(tmpdir(), 'wbsr-sentinel-')))
    // They find the replica and each other by what the master says.
    await until(() => {
      const known = ports.map((port) => watched.#ask(port))
      return known.every((text) => /num-slaves\n1\n/.test(text) && /num-other-sentinels\n2\n/.test(text))
    })
    return watched
  }

  get url(): string {
    return `redis-sentinel://${this.ports.map((port) => `127.0.0.1:${port}`).join(',')}/${NAME}`
  }

  /** The same as options of ioredis. */
  get options() {
    return { sentinels: this.ports.map((port) => ({ host: '127.0.0.1', port })), name: NAME }
  }

  #ask(port: number): string {
    try {
      return execFileSync('redis-cli', ['-p', String(port), 'sentinel', 'master', NAME], { encoding: 'utf8' })
    } catch {
      return ''
    }
  }

  async remove(): Promise<void> {
    for (const child of this.#children) {
      if (child.exitCode !== null) continue
      child.kill('SIGKILL')
      await once(child, 'exit')
    }
    await this.replica.remove()
    await this.master.remove()
    rmSync(this.#folder, { recursive: true, force: true })
  }
}
