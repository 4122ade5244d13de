// The page of `wbsr compare`: gives the pictures that stand in the page to the viewer.
const data = JSON.parse(/** @type {HTMLElement} */ (document.getElementById('data')).textContent ?? '')
const viewer = /** @type {import('./viewer.js').Viewer} */ (document.querySelector('wbsr-viewer'))
viewer.show(data)
// A row of the table of figures shows its pair.
for (const button of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll('button[data-pair]')))
  button.addEventListener('click', () => {
    const [left, right] = /** @type {string} */ (button.dataset['pair']).split(',').map(Number)
    viewer.show({ ...data, left, right })
    viewer.scrollIntoView({ block: 'nearest' })
  })
