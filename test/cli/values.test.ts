// Values of options, sizes and passes, and which scale of the package's models is taken.
import t from 'tap'
import { shippedScale } from '../../lib/cli/model.js'
import { integer, integers, number, router, size, tileSide } from '../../lib/cli/values.js'
import { passesFor, targetSize } from '../../lib/stream/target.js'

t.test('values', async (t) => {
  t.same(size('1920x1080'), { width: 1920, height: 1080 })
  t.same(size('1920x'), { width: 1920 })
  t.same(size('X1080'), { height: 1080 })
  for (const text of ['x', '1920', '0x5', '12x-3', '99999999x', 'axb', '']) t.throws(() => size(text), /WIDTHxHEIGHT/)
  t.same(router('subnet:12'), { subnet: 12 })
  t.equal(router('calibrated'), 'calibrated')
  for (const text of ['subnet:', 'subnet:-1', 'toString', '']) t.throws(() => router(text), /or subnet:N/)
  t.same(integers('16,32'), [16, 32])
  for (const text of ['', '1,', '0,3', '1 2', 'a']) t.throws(() => integers(text), /positive integers/)
  t.equal(integer(1, 9)('7'), 7)
  for (const text of ['0', '10', '1.5', '', 'x', '1e0', '0x1']) t.throws(() => integer(1, 9)(text), /between 1 and 9/)
  t.equal(tileSide('256'), 256)
  for (const text of ['100', '0', '4112']) t.throws(() => tileSide(text), /multiple of 16|between 16 and 4096/)
  t.equal(number(0, 1)('1e-3'), 0.001)
  for (const text of ['', ' ', 'NaN', '-1', '1.01', '1,5']) t.throws(() => number(0, 1)(text), /between 0 and 1/)
})

t.test('sizes and passes', async (t) => {
  const picture = { width: 301, height: 200 }
  t.same(targetSize({ scale: 1.5 }, picture), { width: 452, height: 300 })
  t.same(targetSize({ width: 602 }, picture), { width: 602, height: 400 })
  t.same(targetSize({ height: 60 }, { width: 10000, height: 1 }), { width: 600000, height: 60 })
  t.throws(() => targetSize({ height: 65 }, { width: 10000, height: 1 }), /at most 64 times 10000x1/)
  t.same(targetSize({ width: 1 }, { width: 1000, height: 3 }), { width: 1, height: 1 })
  t.same(
    [0.5, 1, 2, 2.01, 4, 5, 8, 9].map((factor) =>
      passesFor({ width: 10 * factor, height: 9 }, { width: 10, height: 10 }, 2),
    ),
    [1, 1, 1, 2, 2, 3, 3, 4],
  )
  t.same(
    [1, 2, 3, 4, 8].map((factor) => shippedScale(factor, [4, 2])),
    [2, 2, 4, 4, 4],
  )
})
