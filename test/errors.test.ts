import t from 'tap'
import { invalidOption } from '../lib/errors.js'

t.test('what was received is shown so that it can be recognised', async (t) => {
  const shown = (value: unknown) =>
    /^Expected x for name but received (.*)$/s.exec(invalidOption('name', 'x', value).message)![1]
  t.equal(shown('a"b'), '"a\\"b"')
  t.equal(shown(null), 'null')
  t.equal(shown(undefined), 'undefined')
  t.equal(shown(['a', 1]), '["a", 1]')
  t.equal(shown([{}]), 'an array of 1')
  t.equal(shown({}), 'an object (Object)')
  t.equal(shown(Object.create(null)), 'an object (no prototype)')
  t.equal(shown(shown), 'a function')
})

t.test('a long path keeps its end', async (t) => {
  const message = (value: unknown) => invalidOption('file', 'a picture', value).message
  const folder = `/home/${'a long folder/'.repeat(20)}`
  t.match(message(`${folder}name.png`), /but received "\/home\/a long.*\.\.\..*\/name\.png"$/)
  t.ok(message(`${folder}name.png`).length < 180)
  t.match(message([`${folder}one.png`, `${folder}two.png`]), /\/one\.png", "\/home.*\/two\.png"\]$/)
  t.equal(message('x'.repeat(120)), `Expected a picture for file but received "${'x'.repeat(120)}"`, 'not shortened')
})
