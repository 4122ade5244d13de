// The page of `wbsr serve`: sends pictures one request each, reads progress from the same connection, and shows the results.
// A request that is given up ends the work on the server.
const { limits } = JSON.parse(/** @type {HTMLElement} */ (document.getElementById('settings')).textContent ?? '')

/** Pictures that are on their way at the same time; the others wait here. */
const AT_ONCE = 2
/** Before another try, where the server has no room. */
const RETRY_MS = 3000
/** Names this tab, so that people take turns. */
const CLIENT = crypto.getRandomValues(new Uint32Array(4)).join('-')

const byId = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id))
const form = /** @type {HTMLFormElement} */ (byId('options'))
const files = /** @type {HTMLInputElement} */ (byId('files'))
const list = byId('list')
const spoken = byId('status')

/** @typedef {{ file: Blob, name: string, query: URLSearchParams, item: Item }} Waiting */
/** @type {Waiting[]} */
const waiting = []
let busy = 0

/** @param {string} name */
const field = (name) => /** @type {HTMLInputElement | HTMLSelectElement} */ (form.elements.namedItem(name))

/** What is asked for now; null: the amount is missing. */
function options() {
  const query = new URLSearchParams()
  const size = field('size').value
  const amount = field('amount').value
  if (size === 'factor' || size === 'width') {
    if (amount === '') return null
    query.set(size === 'width' ? 'width' : 'scale', amount)
  } else query.set('scale', size)
  for (const name of ['quality', 'model', 'format']) query.set(name, field(name).value)
  return query
}

/** A picture of the list. */
class Item {
  /** @type {HTMLElement} */ element
  /** @type {HTMLElement} */ said
  /** @type {HTMLProgressElement} */ progress
  /** @type {HTMLElement} */ buttons
  abort = new AbortController()
  #name

  /** @param {string} name */
  constructor(name) {
    this.#name = name
    this.element = document.createElement('li')
    this.element.className = 'item'
    const row = document.createElement('div')
    row.className = 'row'
    const title = document.createElement('span')
    title.className = 'name'
    title.textContent = name
    this.said = document.createElement('span')
    this.said.className = 'said'
    this.buttons = document.createElement('span')
    this.buttons.className = 'buttons'
    this.progress = document.createElement('progress')
    this.progress.setAttribute('aria-label', `Progress of ${name}`)
    row.append(title, this.said, this.buttons)
    this.element.append(row, this.progress)
    list.prepend(this.element)
    this.button('Cancel', () => this.cancel())
  }

  /** @param {string} text @param {() => void} action */
  button(text, action) {
    const button = document.createElement('button')
    button.type = 'button'
    button.textContent = text
    button.setAttribute('aria-label', `${text} ${this.#name}`)
    button.addEventListener('click', action)
    this.buttons.append(button)
    return button
  }

  /** @param {string} text @param {number} [share] 0 .. 1; without it nobody knows how long */
  tell(text, share) {
    this.said.textContent = text
    if (share === undefined) this.progress.removeAttribute('value')
    else this.progress.value = share
  }

  /** @param {string} text @param {(() => void) | null} again */
  fail(text, again) {
    this.#end(text)
    this.element.classList.add('failed')
    if (again) this.button('Try again', again)
    this.button('Remove', () => this.element.remove())
  }

  cancel() {
    this.abort.abort()
    this.element.remove()
    announce(`${this.#name}: cancelled`)
  }

  /** @param {string} text */
  #end(text) {
    this.progress.remove()
    this.buttons.replaceChildren()
    this.said.textContent = text
    announce(`${this.#name}: ${text}`)
  }

  /** @param {any} done what the server says of a result */
  finish(done) {
    const [width, height] = done.size
    const megabytes = done.bytes < 1e5 ? `${Math.ceil(done.bytes / 1e3)} kB` : `${(done.bytes / 1e6).toFixed(1)} MB`
    this.#end(
      `${done.inputSize.join(' × ')} → ${width} × ${height}, ${done.seconds.toFixed(1)} s, ${megabytes}` +
        `, ${Math.round(100 * done.share)} % of the work of the whole network (${done.model})`,
    )
    for (const warning of done.warnings) {
      const line = document.createElement('p')
      line.className = 'faint'
      line.textContent = warning
      this.element.append(line)
    }
    const link = document.createElement('a')
    link.className = 'button'
    link.href = `${done.result}?download`
    link.download = done.name
    link.textContent = 'Download'
    link.setAttribute('aria-label', `Download ${done.name}`)
    this.buttons.append(link)
    /** @type {import('./viewer.js').Viewer | null} */
    let viewer = null
    const look = this.button('Hide', () => {
      if (viewer) {
        viewer.remove()
        viewer = null
      } else show()
      look.textContent = viewer ? 'Hide' : 'Show'
      look.setAttribute('aria-label', `${look.textContent} ${this.#name}`)
    })
    const show = () => {
      viewer = /** @type {import('./viewer.js').Viewer} */ (document.createElement('wbsr-viewer'))
      this.element.append(viewer)
      viewer.show({
        pictures: [
          { label: 'before (bicubic)', src: done.before, width, height },
          { label: 'after', src: done.after, width, height, ...(done.allocation && { allocation: done.allocation }) },
        ],
      })
    }
    this.button('Remove', () => this.element.remove())
    // One is open at a time, unless somebody opens more.
    if (document.querySelector('wbsr-viewer')) look.textContent = 'Show'
    else show()
  }
}

/** Told to those who do not see the list. @param {string} text */
function announce(text) {
  spoken.textContent = text
}

/** @param {Iterable<File>} chosen */
function add(chosen) {
  const query = options()
  if (!query) {
    field('amount').focus()
    announce('Expected a number')
    return
  }
  for (const file of chosen) {
    const item = new Item(file.name)
    if (file.size > limits.megabytes * 1e6) item.fail(`more than ${limits.megabytes} MB`, null)
    else enqueue({ file, name: file.name, query, item })
  }
  next()
}

/** @param {Waiting} one */
function enqueue(one) {
  one.item.tell('waiting')
  waiting.push(one)
}

function next() {
  while (busy < AT_ONCE && waiting.length > 0) {
    const one = /** @type {Waiting} */ (waiting.shift())
    if (one.item.abort.signal.aborted) continue
    busy++
    void send(one).finally(() => {
      busy--
      next()
    })
  }
}

/** The events of a response. @param {Response} response */
async function* lines(response) {
  const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader()
  const decoder = new TextDecoder()
  let text = ''
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return
    text += decoder.decode(value, { stream: true })
    const parts = text.split('\n')
    text = parts.pop() ?? ''
    for (const part of parts) if (part !== '') yield JSON.parse(part)
  }
}

/** @param {Waiting} one */
async function send(one) {
  const { file, name, query, item } = one
  const { signal } = item.abort
  const again = () => {
    item.element.remove()
    enqueue({ ...one, item: new Item(name) })
    next()
  }
  try {
    for (;;) {
      item.tell('sending')
      const address = new URLSearchParams(query)
      address.set('name', name)
      const response = await fetch(`/pictures?${address}`, {
        method: 'POST',
        body: file,
        headers: { 'X-Wbsr-Client': CLIENT, 'Content-Type': 'application/octet-stream' },
        signal,
      })
      if (response.ok) {
        await follow(response, item, again)
        return
      }
      const { code, message } = await response.json()
      if (code !== 'WBSR_BUSY') return item.fail(message, response.status === 408 ? again : null)
      item.tell('the server is busy, waiting')
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS))
      if (signal.aborted) return
    }
  } catch {
    if (!signal.aborted) item.fail('the connection to the server was lost', again)
  }
}

/** @param {Response} response @param {Item} item @param {() => void} again */
async function follow(response, item, again) {
  for await (const event of lines(response)) {
    if (event.event === 'waiting') item.tell(event.ahead > 0 ? `waiting, ${event.ahead} before it` : 'waiting')
    // What is left then is writing the file.
    if (event.event === 'running' && event.share === 1) item.tell('writing the result')
    else if (event.event === 'running') item.tell(`${Math.round(100 * event.share)} %`, event.share)
    if (event.event === 'failed') return item.fail(event.message, again)
    if (event.event === 'done') return item.finish(event)
  }
  item.fail('the connection to the server was lost', again)
}

field('size').addEventListener('change', () => {
  const size = field('size').value
  const label = byId('amount-label')
  label.hidden = size !== 'factor' && size !== 'width'
  const amount = /** @type {HTMLInputElement} */ (field('amount'))
  const word = /** @type {HTMLElement} */ (label.querySelector('span'))
  word.textContent = size === 'width' ? 'Pixels' : 'Factor'
  amount.step = size === 'width' ? '1' : 'any'
  if (!label.hidden) amount.focus()
})
form.addEventListener('submit', (event) => event.preventDefault())
files.addEventListener('change', () => {
  add(files.files ?? [])
  files.value = ''
})
const drop = byId('drop')
for (const type of ['dragenter', 'dragover'])
  addEventListener(type, (event) => {
    event.preventDefault()
    drop.classList.add('over')
  })
addEventListener('dragleave', (event) => {
  if (event.relatedTarget === null) drop.classList.remove('over')
})
addEventListener('drop', (event) => {
  event.preventDefault()
  drop.classList.remove('over')
  add(event.dataTransfer?.files ?? [])
})
addEventListener('paste', (event) => {
  const pasted = event.clipboardData?.files
  if (pasted && pasted.length > 0) add(pasted)
})
