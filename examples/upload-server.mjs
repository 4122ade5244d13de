// An upload server: takes a picture, answers with it twice as large, as PNG.
//
//   npm install wbsr fastify sharp
//   node upload-server.mjs                    # http://127.0.0.1:8080; PORT and QUEUE change port and length of the queue
//   curl --data-binary @photo.jpg -H 'content-type: image/jpeg' http://127.0.0.1:8080/upscale -o photo-x2.png
//
// One picture runs, QUEUE (16) others may be uploaded or wait, and one more is refused with 503 before its bytes are read:
// uploads lie in memory, so their number is what bounds it. A client that goes away frees its place.
import fastify from 'fastify'
import sharp from 'sharp'
import { loadSupernet, WbsrError } from 'wbsr'

const MAX_BYTES = 20 << 20
const MAX_PIXELS = 16e6 // of an uploaded picture: a small file may hold a huge one
const SECONDS = 120 // for one picture, its wait included

/** What a client is told: its picture is at fault, or the server. */
const STATUS = { WBSR_INVALID_IMAGE: 415, WBSR_BUSY: 503, WBSR_ABORTED: 503, WBSR_OUT_OF_MEMORY: 503 }

/**
 * The server, not listening yet.
 *
 * @param {import('wbsr').SupernetModel} model
 * @param {number} queue pictures that may be uploaded or wait besides the one that runs
 */
export function uploadServer(model, queue = 16) {
  const app = fastify({
    bodyLimit: MAX_BYTES,
    requestTimeout: 60_000, // a slow upload holds a place of the queue
    keepAliveTimeout: 5000, // close() waits for connections that are not known to be idle, 72 s by default
    return503OnClosing: true,
  })
  let admitted = 0

  app.addContentTypeParser(/^image\//, { parseAs: 'buffer' }, (_request, body, done) => done(null, body))

  app.get('/health', () => ({ pictures: admitted }))

  app.post('/upscale', {
    // Runs before the body is read.
    onRequest: async (_request, reply) => {
      if (admitted > queue) {
        // The rest of the upload is not read, so the connection cannot serve another request.
        reply.code(503).headers({ 'retry-after': '5', connection: 'close' })
        return reply.send({ code: 'WBSR_BUSY', message: `${admitted} pictures are uploaded, wait or run` })
      }
      admitted++
      reply.raw.once('close', () => admitted--) // answered, or the client went away
    },
    handler: async (request, reply) => {
      const gone = new AbortController()
      reply.raw.once('close', () => gone.abort(new Error('the client went away')))
      const signal = AbortSignal.any([gone.signal, AbortSignal.timeout(SECONDS * 1000)])
      const { data, width, height, channels } = await model.upscale(/** @type {Buffer} */ (request.body), {
        maxPixels: MAX_PIXELS,
        signal,
      })
      const png = await sharp(data, { raw: { width, height, channels } }).png({ compressionLevel: 6 }).toBuffer()
      return reply.type('image/png').send(png)
    },
  })

  app.setErrorHandler((/** @type {Error & { code?: string, statusCode?: number }} */ error, _request, reply) => {
    const status = error instanceof WbsrError ? (STATUS[error.code] ?? 500) : (error.statusCode ?? 500)
    if (status >= 500) console.error(error.message)
    const message = status === 500 ? 'the picture could not be enlarged' : error.message
    return reply.code(status).send({ code: error.code, message })
  })
  return app
}

if (import.meta.filename === process.argv[1]) {
  const queue = Number(process.env.QUEUE ?? 16)
  const model = await loadSupernet('wbsr:x2', { concurrency: 1, maxWaiting: queue })
  const app = uploadServer(model, queue)
  console.log(`listening on ${await app.listen({ host: '127.0.0.1', port: Number(process.env.PORT ?? 8080) })}`)
  // close() lets pictures in hand finish.
  for (const name of ['SIGINT', 'SIGTERM'])
    process.once(name, async () => {
      await app.close()
      model.dispose()
    })
}
