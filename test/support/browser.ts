// Pages in headless Chromium, driven by playwright-core: one browser and one profile for all tests of a file.
import { mkdirSync } from 'node:fs'
import path from 'node:path'
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core'
import type { Test } from 'tap'
import { findProgram } from './find-program.js'

const program = process.env['WBSR_CHROMIUM'] ?? findProgram('chromium') ?? findProgram('chromium-browser')

/** Reason to skip a test, or false. */
export const withoutChromium: string | false = program
  ? false
  : 'there is no chromium (on Debian: apt-get install chromium)'

let browser: Browser | null = null

async function open(): Promise<Browser> {
  browser ??= await chromium.launch({
    executablePath: program!,
    args: [
      // Its sandbox needs rights that containers mostly lack; the pages are our own.
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  })
  return browser
}

export interface Tab {
  page: Page
  /** Errors of scripts and of the security policy, requests that left the page, and console errors. */
  faults: string[]
}

/** A page of its own, closed after the test. */
export async function newTab(t: Test, options: BrowserContextOptions = {}): Promise<Tab> {
  const context = await (await open()).newContext({ viewport: { width: 1280, height: 800 }, ...options })
  t.teardown(() => context.close())
  const page = await context.newPage()
  const faults: string[] = []
  page.on('pageerror', (error) => faults.push(String(error)))
  page.on('console', (message) => {
    if (message.type() === 'error') faults.push(message.text())
  })
  return { page, faults }
}

export async function closeBrowser(): Promise<void> {
  await browser?.close()
  browser = null
}

/** Keeps a screenshot where WBSR_SCREENSHOTS names a folder, for people to look at. */
export async function screenshot(page: Page, name: string): Promise<void> {
  const folder = process.env['WBSR_SCREENSHOTS']
  if (!folder) return
  mkdirSync(folder, { recursive: true })
  await page.screenshot({ path: path.join(folder, `${name}.png`), fullPage: true })
}
