// Training reports: gives the examples to their viewers, and loads the page again while the run goes on.
const run = JSON.parse(/** @type {HTMLElement} */ (document.getElementById('run')).textContent ?? '')

for (const element of document.querySelectorAll('wbsr-viewer')) {
  const viewer = /** @type {import('./viewer.js').Viewer} */ (element)
  const { pictures, figures, width, height } = run.examples[Number(viewer.dataset['example'])]
  const sized = pictures.map((/** @type {object} */ picture) => ({ ...picture, width, height }))
  viewer.show({ pictures: sized, figures, left: 0, right: 1 })
  const strip = document.createElement('div')
  strip.className = 'strip'
  for (const [right, { src, label }] of sized.entries()) {
    const button = document.createElement('button')
    button.type = 'button'
    button.title = `Show ${label} on the right`
    const image = document.createElement('img')
    Object.assign(image, { src, alt: '', width: 72, height: 72 })
    button.append(image, label)
    button.addEventListener('click', () => viewer.show({ pictures: sized, figures, left: right === 0 ? 1 : 0, right }))
    strip.append(button)
  }
  viewer.before(strip)
}

/** Where the choice is kept until the tab is closed; some browsers have no storage for files. */
const KEY = 'wbsr-report-auto'
const kept = (/** @type {string} */ value) => {
  try {
    if (value !== '') sessionStorage.setItem(KEY, value)
    return sessionStorage.getItem(KEY)
  } catch {
    return null
  }
}

/** While a viewer is used, or for so long after a key or pointer, the page stays. */
const QUIET_MS = 15_000
let used = -QUIET_MS
for (const type of ['keydown', 'pointerdown', 'wheel']) addEventListener(type, () => (used = performance.now()))

if (run.status === 'running') {
  const auto = /** @type {HTMLInputElement} */ (document.getElementById('auto'))
  const line = /** @type {HTMLElement} */ (document.getElementById('refresh'))
  line.hidden = false
  auto.checked = kept('') !== 'off'
  auto.addEventListener('change', () => kept(auto.checked ? 'on' : 'off'))
  setInterval(() => {
    if (auto.checked && !document.hidden && performance.now() - used > QUIET_MS) location.reload()
  }, Math.max(5, run.everySeconds) * 1000)
}
