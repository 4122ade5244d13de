// Removes from a store what no job needs any more.
import { type Manifest, readManifest } from './manifest.js'
import type { Store } from './store.js'

/** Ids of jobs that are alive, and the keys that they read. */
export async function neededKeys(
  store: Store,
  isAlive: (id: string, manifest: Manifest) => Promise<boolean>,
): Promise<Set<string>> {
  const needed = new Set<string>()
  for await (const { key } of store.list('runs/')) {
    const [, id, file] = key.split('/')
    if (file !== 'manifest.json') continue
    const manifest = await readManifest(store, id!).catch(() => null)
    if (!manifest || !(await isAlive(id!, manifest))) continue
    needed.add(id!)
    if (manifest.kind === 'folder') for (const picture of manifest.pictures) needed.add(picture.id)
    if ('model' in manifest) needed.add(manifest.model)
    if ('rows' in manifest) needed.add(manifest.rows)
    if ('source' in manifest) needed.add(manifest.source)
  }
  return needed
}

/** @param before ms since 1970: objects that were written later stay */
export async function removeOld(
  store: Store,
  before: number,
  needed: ReadonlySet<string>,
): Promise<{ objects: number; bytes: number }> {
  let objects = 0
  let bytes = 0
  for (const prefix of ['runs/', 'inputs/', 'models/', 'done/'])
    for await (const object of store.list(prefix)) {
      const owner = prefix === 'runs/' ? object.key.split('/')[1]! : object.key
      if (object.modified > before || needed.has(owner)) continue
      await store.remove(object.key)
      objects++
      bytes += object.bytes
    }
  return { objects, bytes }
}
