// <wbsr-viewer>: pictures over each other with a slider, side by side, or as their difference; zoom, pan, and which subnet
// made which part. All pictures are shown in the size of the first one.
//
// It is the same element in the page of `wbsr compare`, in training reports and in `wbsr serve`. The page gives it pictures
// by show(); it imports nothing, so that it can stand in a page that is one file.

/**
 * @typedef {object} Allocation which subnet ran where
 * @property {number} width LR pixels
 * @property {number} height LR pixels
 * @property {number[]} tiles x, y, width, height in LR pixels and the subnet, five numbers each
 * @property {{ label: string, colour: string }[]} subnets cheapest first
 *
 * @typedef {object} Picture
 * @property {string} label
 * @property {string} src
 * @property {number} width pixels
 * @property {number} height pixels
 * @property {Allocation} [allocation]
 * @property {string} [map] a picture in place of an allocation
 * @property {boolean} [sharp] shown without interpolation at every zoom
 *
 * @typedef {object} Shown
 * @property {Picture[]} pictures
 * @property {number} [left] index of the picture on the left; default 0
 * @property {number} [right] default the last one
 * @property {{ a: number, b: number, text: string }[]} [figures] of pairs of pictures
 */

const SVG = 'http://www.w3.org/2000/svg'
/** Zoom is from this much below what shows the whole picture up to this many screen pixels per picture pixel. */
const LEAST = 0.5
const MOST = 32
/** Pixels that an arrow key moves the pictures. */
const PAN = 60
/** Brightness of a difference. */
const GAINS = [1, 4, 8, 16, 32]

let viewers = 0

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, unknown>} [properties] of the element; those with a dash are attributes
 * @param {(Node | string)[]} [children]
 */
function make(tag, properties = {}, children = []) {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(properties))
    if (/-|^role$/.test(name)) element.setAttribute(name, String(value))
    else Object.assign(element, { [name]: value })
  element.append(...children)
  return element
}

/** @param {Allocation} allocation */
function drawAllocation({ width, height, tiles, subnets }) {
  const svg = document.createElementNS(SVG, 'svg')
  svg.setAttribute('viewBox', `0 0 ${width} ${height}`)
  svg.setAttribute('preserveAspectRatio', 'none')
  const paths = subnets.map(() => '')
  for (let i = 0; i < tiles.length; i += 5)
    paths[tiles[i + 4]] += `M${tiles[i]} ${tiles[i + 1]}h${tiles[i + 2]}v${tiles[i + 3]}h${-tiles[i + 2]}z`
  for (const [subnet, d] of paths.entries()) {
    if (d === '') continue
    const path = document.createElementNS(SVG, 'path')
    path.setAttribute('d', d)
    path.setAttribute('fill', subnets[subnet].colour)
    path.setAttribute('stroke', subnets[subnet].colour)
    svg.append(path)
  }
  return svg
}

export class Viewer extends HTMLElement {
  /** @type {Shown & { left: number, right: number }} */
  #shown = { pictures: [], left: 0, right: 0 }
  /** @type {'slider' | 'sides' | 'difference'} */
  #mode = 'slider'
  /** Position of the slider, 0 .. 1. */
  #split = 0.5
  #gain = 8
  #overlay = false
  #opacity = 0.45
  /** Screen (CSS) pixels per picture pixel, and where the picture's corner is. null: the whole picture is shown. */
  /** @type {{ scale: number, x: number, y: number } | null} */
  #place = null
  /** @type {Map<number, { x: number, y: number }>} */
  #pointers = new Map()
  #built = false
  leftSelect = make('select', { 'aria-label': 'Left picture', onchange: () => this.#choose() })
  rightSelect = make('select', { 'aria-label': 'Right picture', onchange: () => this.#choose() })
  choice = make('span', { className: 'choice' }, [
    make('label', {}, [make('span', { textContent: 'Left ' }), this.leftSelect]),
    make('label', {}, [make('span', { textContent: 'Right ' }), this.rightSelect]),
  ])
  zoomText = make('output', { className: 'zoom' })
  overlayBox = make('input', {
    type: 'checkbox',
    onchange: () => {
      this.#overlay = this.overlayBox.checked
      this.#fill()
    },
  })
  opacityRange = make('input', {
    type: 'range',
    min: '10',
    max: '100',
    value: '45',
    'aria-label': 'Opacity of the map of subnets',
    oninput: () => {
      this.#opacity = Number(this.opacityRange.value) / 100
      this.#layout()
    },
  })
  overlayLabel = make('span', { className: 'overlay' }, [
    make('label', {}, [this.overlayBox, make('span', { textContent: 'Where the work went' })]),
    this.opacityRange,
  ])
  gainSelect = make('select', {
    'aria-label': 'Brightness of the difference',
    onchange: () => {
      this.#gain = Number(this.gainSelect.value)
      this.#layout()
    },
  })
  gainLabel = make('label', {}, ['Brightness ', this.gainSelect])
  panes = [0, 1].map(() => {
    const world = make('div', { className: 'world' })
    const tag = make('span', { className: 'tag' })
    return { world, tag, pane: make('div', { className: 'pane' }, [world, tag]) }
  })
  divider = make('div', {
    className: 'divider',
    tabIndex: 0,
    role: 'slider',
    'aria-label': 'Boundary between the left and the right picture',
    'aria-valuemin': 0,
    'aria-valuemax': 100,
  })
  port = make('div', {
    className: 'port',
    tabIndex: 0,
    role: 'group',
    'aria-label': 'Pictures. Arrow keys move them, plus and minus zoom, 0 shows the whole picture, 1 its pixels.',
  })
  legend = make('ul', { className: 'legend' })
  figures = make('p', { className: 'figures', 'aria-live': 'polite' })

  connectedCallback() {
    if (!this.#built) this.#build()
    this.#observer.observe(this.port)
  }

  disconnectedCallback() {
    this.#observer.disconnect()
  }

  #observer = new ResizeObserver(() => this.#layout())

  /**
   * Shows pictures. Zoom and mode stay as they are where the size does not change.
   *
   * @param {Shown} shown
   */
  show(shown) {
    if (!this.#built) this.#build()
    const [before] = this.#shown.pictures
    const last = shown.pictures.length - 1
    this.#shown = { ...shown, left: Math.min(shown.left ?? 0, last), right: Math.min(shown.right ?? last, last) }
    // Of two there is nothing to choose.
    this.choice.hidden = shown.pictures.length <= 2
    const [first] = shown.pictures
    if (before?.width !== first.width || before?.height !== first.height) this.#place = null
    for (const [select, chosen] of /** @type {const} */ ([
      [this.leftSelect, this.#shown.left],
      [this.rightSelect, this.#shown.right],
    ])) {
      select.replaceChildren(...shown.pictures.map(({ label }, i) => make('option', { value: i, textContent: label })))
      select.value = String(chosen)
    }
    this.#fill()
  }

  #build() {
    this.#built = true
    const number = ++viewers
    const modes = /** @type {const} */ ([
      ['slider', 'Slider'],
      ['sides', 'Side by side'],
      ['difference', 'Difference'],
    ]).map(([mode, label]) => {
      const onchange = () => {
        this.#mode = mode
        this.#fill()
      }
      const input = { type: 'radio', name: `viewer-${number}`, value: mode, checked: mode === this.#mode, onchange }
      return make('label', {}, [make('input', input), make('span', { textContent: label })])
    })
    const button = (/** @type {string} */ text, /** @type {string} */ label, /** @type {() => void} */ onclick) =>
      make('button', { type: 'button', textContent: text, title: label, 'aria-label': label, onclick })
    this.gainSelect.append(...GAINS.map((gain) => make('option', { value: gain, textContent: `× ${gain}` })))
    this.gainSelect.value = String(this.#gain)
    this.port.append(...this.panes.map(({ pane }) => pane), this.divider)
    const bar = make('div', { className: 'bar', role: 'toolbar', 'aria-label': 'View' }, [
      this.choice,
      make('fieldset', { className: 'modes' }, [make('legend', { textContent: 'View' }), ...modes]),
      make('span', { className: 'zooming' }, [
        button('−', 'Zoom out (-)', () => this.#zoom(1 / 1.5)),
        this.zoomText,
        button('+', 'Zoom in (+)', () => this.#zoom(1.5)),
        button('Fit', 'Show the whole picture (0)', () => this.fit()),
        button('1:1', 'One picture pixel per screen pixel (1)', () => this.#actual()),
      ]),
      this.overlayLabel,
      this.gainLabel,
    ])
    this.replaceChildren(bar, this.port, this.legend, this.figures)
    this.port.addEventListener('keydown', (event) => this.#key(event))
    this.port.addEventListener('wheel', (event) => this.#wheel(event), { passive: false })
    this.port.addEventListener('pointerdown', (event) => this.#down(event))
    this.port.addEventListener('pointermove', (event) => this.#move(event))
    for (const type of /** @type {const} */ (['pointerup', 'pointercancel']))
      this.port.addEventListener(type, (event) => this.#pointers.delete(event.pointerId))
    this.port.addEventListener('dblclick', () => (this.#place ? this.fit() : this.#actual()))
  }

  #choose() {
    this.#shown.left = Number(this.leftSelect.value)
    this.#shown.right = Number(this.rightSelect.value)
    this.#fill()
  }

  /** The pictures of the panes. */
  #fill() {
    const { pictures, left, right, figures } = this.#shown
    if (pictures.length === 0) return
    const difference = this.#mode === 'difference'
    const sides = difference ? [[left, right], []] : [[left], [right]]
    for (const [i, { world, tag, pane }] of this.panes.entries()) {
      pane.hidden = sides[i].length === 0
      const labels = sides[i].map((index) => pictures[index].label)
      tag.textContent = difference ? `|${labels.join(' − ')}|` : (labels[0] ?? '')
      const layers = sides[i].flatMap((index) => {
        const { src, label, allocation, map, sharp } = pictures[index]
        const image = make('img', { src, alt: label, draggable: false, decoding: 'async' })
        image.classList.toggle('sharp', sharp === true)
        /** @type {Element[]} */
        const all = [image]
        if (this.#overlay && !difference) {
          if (allocation) all.push(drawAllocation(allocation))
          else if (map) all.push(make('img', { src: map, alt: `which subnet ran where: ${label}`, draggable: false }))
        }
        for (const layer of all.slice(1)) layer.classList.add('map')
        return all
      })
      world.replaceChildren(...layers)
      world.classList.toggle('difference', difference)
    }
    const mapped = [left, right].map((index) => pictures[index]).filter(({ allocation, map }) => allocation ?? map)
    this.overlayLabel.hidden = mapped.length === 0 || difference
    this.opacityRange.hidden = !this.#overlay
    this.gainLabel.hidden = !difference
    this.divider.hidden = this.#mode !== 'slider'
    this.dataset.mode = this.#mode
    this.#describe(this.#overlay && !difference ? mapped.find(({ allocation }) => allocation)?.allocation : undefined)
    const figure = figures?.find(({ a, b }) => (a === left && b === right) || (a === right && b === left))
    this.figures.textContent = figure?.text ?? ''
    this.#layout()
  }

  /** The legend. @param {Allocation} [allocation] */
  #describe(allocation) {
    this.legend.hidden = allocation === undefined
    if (!allocation) return
    const counts = allocation.subnets.map(() => 0)
    for (let i = 4; i < allocation.tiles.length; i += 5) counts[allocation.tiles[i]]++
    const total = allocation.tiles.length / 5
    this.legend.replaceChildren(
      ...allocation.subnets.flatMap(({ label, colour }, i) => {
        if (counts[i] === 0) return []
        const mark = make('span', { className: 'mark' })
        mark.style.background = colour
        return [make('li', {}, [mark, `${label}: ${Math.round((100 * counts[i]) / total)} % of the tiles`])]
      }),
    )
  }

  /** Size of what one picture is seen through. */
  #window() {
    const { clientWidth, clientHeight } = this.port
    return { width: this.#mode === 'sides' ? clientWidth / 2 : clientWidth, height: clientHeight }
  }

  #whole() {
    const [{ width, height }] = this.#shown.pictures
    const seen = this.#window()
    const scale = Math.min(seen.width / width, seen.height / height, 8)
    return { scale, x: (seen.width - width * scale) / 2, y: (seen.height - height * scale) / 2 }
  }

  #layout() {
    const [first] = this.#shown.pictures
    if (!first || this.port.clientWidth === 0) return
    const { scale, x, y } = this.#place ?? this.#whole()
    const pixels = scale * devicePixelRatio
    for (const { world } of this.panes) {
      world.style.width = `${first.width}px`
      world.style.height = `${first.height}px`
      world.style.transform = `translate(${x}px, ${y}px) scale(${scale})`
      world.style.filter = this.#mode === 'difference' ? `brightness(${this.#gain})` : ''
      world.classList.toggle('pixels', pixels >= 1.999)
      const maps = /** @type {NodeListOf<SVGElement | HTMLElement>} */ (world.querySelectorAll('.map'))
      for (const map of maps) map.style.opacity = `${this.#opacity}`
    }
    const percent = `${(100 * this.#split).toFixed(1)}%`
    this.panes[1].pane.style.clipPath = this.#mode === 'slider' ? `inset(0 0 0 ${percent})` : ''
    this.divider.style.left = percent
    this.divider.setAttribute('aria-valuenow', (100 * this.#split).toFixed(0))
    this.divider.setAttribute('aria-valuetext', `${(100 * this.#split).toFixed(0)} % left picture`)
    this.zoomText.textContent = `${pixels < 0.1 ? (100 * pixels).toFixed(1) : Math.round(100 * pixels)} %`
    this.port.classList.toggle('placed', this.#place !== null)
  }

  /** Shows the whole picture. */
  fit() {
    this.#place = null
    this.#layout()
  }

  #actual() {
    this.#zoom(1 / devicePixelRatio / (this.#place ?? this.#whole()).scale)
  }

  /**
   * @param {number} factor
   * @param {{ x: number, y: number }} [at] what stays where it is, in pixels of the pane; default the middle
   */
  #zoom(factor, at) {
    const whole = this.#whole()
    const { scale, x, y } = this.#place ?? whole
    const seen = this.#window()
    const fixed = at ?? { x: seen.width / 2, y: seen.height / 2 }
    const next = Math.min(Math.max(scale * factor, Math.min(whole.scale, 1) * LEAST), MOST / devicePixelRatio)
    const ratio = next / scale
    this.#put({ scale: next, x: fixed.x - (fixed.x - x) * ratio, y: fixed.y - (fixed.y - y) * ratio })
  }

  /** Keeps a part of the picture in sight. @param {{ scale: number, x: number, y: number }} place */
  #put({ scale, x, y }) {
    const [{ width, height }] = this.#shown.pictures
    const seen = this.#window()
    const within = (/** @type {number} */ value, /** @type {number} */ side, /** @type {number} */ room) =>
      side <= room ? (room - side) / 2 : Math.min(0.25 * room, Math.max(value, 0.75 * room - side))
    this.#place = { scale, x: within(x, width * scale, seen.width), y: within(y, height * scale, seen.height) }
    this.#layout()
  }

  /** @param {number} dx @param {number} dy */
  #pan(dx, dy) {
    const { scale, x, y } = this.#place ?? this.#whole()
    this.#put({ scale, x: x + dx, y: y + dy })
  }

  /** @param {number} split */
  #divide(split) {
    this.#split = Math.min(1, Math.max(0, split))
    this.#layout()
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return
    const onDivider = event.target === this.divider
    const far = event.shiftKey ? 4 : 1
    /** @type {Record<string, () => void>} */
    const keys = {
      '+': () => this.#zoom(1.5),
      '=': () => this.#zoom(1.5),
      '-': () => this.#zoom(1 / 1.5),
      0: () => this.fit(),
      1: () => this.#actual(),
      ArrowLeft: () => (onDivider ? this.#divide(this.#split - 0.02 * far) : this.#pan(PAN * far, 0)),
      ArrowRight: () => (onDivider ? this.#divide(this.#split + 0.02 * far) : this.#pan(-PAN * far, 0)),
      ArrowUp: () => (onDivider ? this.#divide(this.#split + 0.02 * far) : this.#pan(0, PAN * far)),
      ArrowDown: () => (onDivider ? this.#divide(this.#split - 0.02 * far) : this.#pan(0, -PAN * far)),
      ...(onDivider && { Home: () => this.#divide(0), End: () => this.#divide(1) }),
    }
    const action = keys[event.key]
    if (!action || this.#shown.pictures.length === 0) return
    event.preventDefault()
    action()
  }

  /** A point in the pane that it lies in. @param {{ clientX: number, clientY: number }} event */
  #point({ clientX, clientY }) {
    const box = this.port.getBoundingClientRect()
    const { width } = this.#window()
    const x = clientX - box.left
    return { x: this.#mode === 'sides' && x > width ? x - width : x, y: clientY - box.top }
  }

  /** Without focus the wheel scrolls the page, unless the page is the viewer's own. @param {WheelEvent} event */
  #wheel(event) {
    const own = this.hasAttribute('data-whole-page') || this.contains(document.activeElement)
    if (!own && !event.ctrlKey && !event.metaKey) return
    event.preventDefault()
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1
    this.#zoom(Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.002)), this.#point(event))
  }

  /** @param {PointerEvent} event */
  #down(event) {
    if (event.button !== 0) return
    // Keeps the browser from starting a drag of the picture; focus is then set here.
    event.preventDefault()
    const target = event.target === this.divider ? this.divider : this.port
    target.focus({ preventScroll: true })
    this.port.setPointerCapture(event.pointerId)
    this.#pointers.set(event.pointerId, { x: event.clientX, y: event.clientY })
    this.#dividing = target === this.divider && this.#pointers.size === 1
  }

  #dividing = false

  /** @param {PointerEvent} event */
  #move(event) {
    const before = this.#pointers.get(event.pointerId)
    if (!before) return
    const now = { x: event.clientX, y: event.clientY }
    const box = this.port.getBoundingClientRect()
    if (this.#dividing) this.#divide((now.x - box.left) / box.width)
    else if (this.#pointers.size === 1) this.#pan(now.x - before.x, now.y - before.y)
    else {
      const other = [...this.#pointers].find(([id]) => id !== event.pointerId)?.[1] ?? before
      const apart = (/** @type {{ x: number, y: number }} */ point) => Math.hypot(point.x - other.x, point.y - other.y)
      const middle = this.#point({ clientX: (now.x + other.x) / 2, clientY: (now.y + other.y) / 2 })
      this.#zoom(apart(now) / Math.max(1, apart(before)), middle)
      this.#pan((now.x - before.x) / 2, (now.y - before.y) / 2)
    }
    this.#pointers.set(event.pointerId, now)
  }
}

customElements.define('wbsr-viewer', Viewer)
