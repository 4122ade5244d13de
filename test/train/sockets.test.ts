// The connection of ranks without MPI: three of them in one process.
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import path from 'node:path'
import t from 'tap'
import { SocketCommunicator } from '../../lib/train/distributed/sockets.js'
import { LEAVING } from '../../lib/train/distributed/tags.js'
import { until } from '../support/cli.js'

const folder = t.testdir()
const going = new Int32Array(1)
let meetings = 0

const meeting = () => path.join(folder, `meeting-${meetings++}`)

async function meet(ranks: number, file = meeting()): Promise<SocketCommunicator[]> {
  const all = Array.from({ length: ranks }, (_, rank) => new SocketCommunicator({ file, rank, ranks }))
  t.teardown(() => all.forEach((one) => one.close()))
  // The others first: they wait for the file.
  const opened = await Promise.all(all.toReversed().map((one) => one.open()))
  t.same(
    opened.map(({ rank }) => rank),
    all.map((_, rank) => rank).reverse(),
  )
  t.notOk(existsSync(file), 'the file is gone')
  return all
}

t.test('messages in the order of each tag, also between others than rank 0', async (t) => {
  const all = await meet(3)
  const large = Float32Array.from({ length: 300_000 }, (_, i) => i)
  for (const [from, to] of [
    [0, 1],
    [1, 0],
    [1, 2],
    [2, 1],
  ] as const) {
    const sent = Float64Array.of(from, to)
    await all[from]!.send(to, 5, sent, going)
    await all[from]!.send(to, 7, large, going)
    sent.fill(9)
    await all[from]!.send(to, 5, Float64Array.of(3, 4), going)
    const got = await all[to]!.receive(from, 7, new Float32Array(large.length), going)
    t.ok(Buffer.from(got.buffer).equals(Buffer.from(large.buffer)), `${from} to ${to}`)
    t.same([...(await all[to]!.receive(from, 5, new Float64Array(2), going))], [from, to])
    t.same([...(await all[to]!.receive(from, 5, new Float64Array(2), going))], [3, 4])
  }
  await all[0]!.send(1, 5, new Uint8Array(3), going)
  await t.rejects(all[1]!.receive(0, 5, new Uint8Array(4), going), /rank 0 sent 3 bytes where 4 were expected/)
})

t.test('a wait that is given up, and a rank that leaves', async (t) => {
  const all = await meet(3)
  const given = new Int32Array(1)
  setTimeout(() => Atomics.store(given, 0, 1), 30)
  await t.rejects(all[0]!.receive(1, 5, new Uint8Array(1), given), { code: 'WBSR_ABORTED' })
  // What it sent before is heard.
  await all[1]!.send(2, 5, Uint8Array.of(8), going)
  all[1]!.close()
  for (const rank of [0, 2]) t.match(await all[rank]!.listen(-1, [6, LEAVING], going), { from: 1, tag: LEAVING })
  t.same([...(await all[2]!.receive(1, 5, new Uint8Array(1), going))], [8])
  await t.rejects(all[0]!.receive(1, 5, new Uint8Array(1), going), { code: 'WBSR_RANK_FAILED' })
  await t.rejects(all[0]!.send(1, 5, new Uint8Array(1), going), { code: 'WBSR_RANK_FAILED' })
  all[0]!.close()
  t.match(await all[2]!.listen(-1, [LEAVING], going), { from: 0 })
  await t.rejects(all[2]!.receive(0, 5, new Uint8Array(1), going), { code: 'WBSR_RANK_FAILED' })
})

t.test('strangers are turned away, and a file of an earlier run leads nowhere', async (t) => {
  const file = meeting()
  // Nobody listens at this port any more.
  writeFileSync(file, JSON.stringify({ hosts: ['127.0.0.1'], port: 1, token: 'old' }))
  const second = new SocketCommunicator({ file, rank: 1, ranks: 2 })
  const first = new SocketCommunicator({ file, rank: 0, ranks: 2 })
  t.teardown(() => [first, second].forEach((one) => one.close()))
  const joined = second.open()
  const gathered = first.open()
  await until(() => existsSync(file) && (statSync(file).mode & 0o777) === 0o600)
  await Promise.all([joined, gathered])
  await first.send(1, 5, Uint8Array.of(1), going)
  t.same([...(await second.receive(0, 5, new Uint8Array(1), going))], [1])

  const other = meeting()
  const alone = new SocketCommunicator({ file: other, rank: 0, ranks: 2 })
  t.teardown(() => alone.close())
  const waiting = alone.open()
  await until(() => existsSync(other))
  const { port } = JSON.parse(readFileSync(other, 'utf8'))
  for (const length of [5, 2 ** 31]) {
    const socket = connect({ host: '127.0.0.1', port })
    socket.on('error', () => {})
    const head = Buffer.alloc(12)
    head.writeUInt32LE(length, 0)
    head.writeUInt16LE(1, 4)
    head.writeUInt16LE(65535, 8)
    socket.write(Buffer.concat([head, Buffer.from('wrong')]))
    await new Promise((resolve) => socket.once('close', resolve))
  }
  const right = new SocketCommunicator({ file: other, rank: 1, ranks: 2 })
  t.teardown(() => right.close())
  await Promise.all([waiting, right.open()])
})
