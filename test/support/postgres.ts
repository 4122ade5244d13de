// A PostgreSQL server of a test's own, on a free port, with its data in a temporary folder.
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chownSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { freePort } from './redis.js'

/** It refuses to run as root. */
const NOBODY = 65534
const asUser = process.getuid?.() === 0 ? { uid: NOBODY, gid: NOBODY } : {}

/** The folder of its programs, as Debian has it, of the newest version; undefined: it is not installed. */
const versions = '/usr/lib/postgresql'
const programs = (existsSync(versions) ? readdirSync(versions) : [])
  .map((version) => path.join(versions, version, 'bin'))
  .filter((folder) => existsSync(path.join(folder, 'initdb')))
  .sort((a, b) => a.localeCompare(b, 'en', { numeric: true }))
  .at(-1)

/** Reason to skip tests that need it, or false. */
export const withoutPostgres: string | false =
  programs === undefined && 'PostgreSQL is not installed (apt-get install postgresql)'

export class PostgresServer {
  readonly port: number
  readonly folder = mkdtempSync(path.join(tmpdir(), 'wbsr-postgres-'))
  #process: ChildProcess | null = null

  private constructor(port: number) {
    this.port = port
  }

  static async start(): Promise<PostgresServer> {
    const server = new PostgresServer(await freePort())
    if (asUser.uid !== undefined) chownSync(server.folder, NOBODY, NOBODY)
    const options = ['--auth', 'trust', '--username', 'wbsr', '--encoding', 'UTF8', '--no-sync']
    execFileSync(path.join(programs!, 'initdb'), ['--pgdata', server.#data, ...options], {
      cwd: server.folder,
      stdio: 'ignore',
      ...asUser,
    })
    await server.run()
    return server
  }

  get #data(): string {
    return path.join(this.folder, 'data')
  }

  get url(): string {
    return `postgres://wbsr@127.0.0.1:${this.port}/postgres`
  }

  /** Starts it, again after stop: with the jobs that it had. */
  async run(): Promise<void> {
    const options = ['-D', this.#data, '-p', String(this.port), '-h', '127.0.0.1', '-k', this.folder]
    this.#process = spawn(path.join(programs!, 'postgres'), options, { cwd: this.folder, stdio: 'ignore', ...asUser })
    for (let i = 0; i < 400; i++) {
      const asked = spawnSync(path.join(programs!, 'pg_isready'), ['-h', '127.0.0.1', '-p', String(this.port)])
      if (asked.status === 0) return
      await setTimeout(25)
    }
    throw new Error('PostgreSQL did not start')
  }

  /** Ends it as a crash would. */
  async stop(): Promise<void> {
    const child = this.#process
    this.#process = null
    if (!child || child.exitCode !== null) return
    child.kill('SIGQUIT')
    await once(child, 'exit')
  }

  async remove(): Promise<void> {
    await this.stop()
    rmSync(this.folder, { recursive: true, force: true })
  }
}
