// A small file system, to test a full disk.
import { execFileSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import type { Test } from 'tap'

/**
 * Runs `work` with a tmpfs of that size mounted at `folder`, which is created where it is missing, and unmounts it before
 * the fixture is removed. Mounting needs root: for others the point is counted as skipped.
 *
 * @param size as mount takes it: '64k'
 */
export async function onSmallDisk(t: Test, folder: string, size: string, work: () => Promise<void>): Promise<void> {
  mkdirSync(folder, { recursive: true })
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', folder], { stdio: 'ignore' })
  } catch {
    t.pass('a full disk', { skip: 'mounting a file system needs root; test/files/atomic.test.ts simulates ENOSPC' })
    return
  }
  try {
    await work()
  } finally {
    execFileSync('umount', [folder])
  }
}
