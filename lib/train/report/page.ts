// A record as a page.
import { barChart, type Line, lineChart } from '../../pages/charts.js'
import { escapeHtml, jsonScript, pageDocument } from '../../pages/document.js'
import type { ClassScores, RunRecord } from './record.js'
import type { StepValues } from './series.js'

const STATUS = {
  running: 'running',
  finished: 'finished',
  stopped: 'stopped: the same command goes on from here',
  failed: 'failed',
} as const

/** Lines of a chart of classes at most. */
const MOST_LINES = 5

/** 42 s, 4 min, 3 h 20 min */
function inWords(seconds: number): string {
  if (seconds < 60) return `${Math.round(seconds)} s`
  const minutes = Math.round(seconds / 60)
  if (minutes < 60) return `${minutes} min`
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}

const time = (iso: string): string => `${iso.slice(0, 10)} ${iso.slice(11, 16)} UTC`
const decibels = (value: number | null): string => (value === null ? '-' : value.toFixed(2))
const cell = (text: string, number = false): string => `<td${number ? ' class="number"' : ''}>${escapeHtml(text)}</td>`

function head({ status, message, facts, step, steps, epoch, epochs, eta, seconds, begun, updated }: RunRecord): string {
  const left = status === 'running' && eta !== null ? `, about ${inWords(eta)} to go` : ''
  const share = steps > 0 ? (100 * step) / steps : 0
  return `<header>
<h1>Training report</h1>
<p class="status ${status}"><strong>${STATUS[status]}</strong>${message === null ? '' : `: ${escapeHtml(message)}`}</p>
<progress max="${steps}" value="${step}" aria-label="Steps done">${share.toFixed(0)} %</progress>
<p>Step ${step} of ${steps} (${share.toFixed(1)} %), epoch ${epoch} of ${epochs}; ${inWords(seconds)} of training${left}.
<span class="faint">Begun ${time(begun)}, this page is of ${time(updated)}.</span></p>
<p id="refresh" hidden><label><input type="checkbox" id="auto" checked> load this page again while the run goes on</label></p>
<details><summary>What is trained</summary><div class="scroll"><table><tbody>
${facts.rows.map(([name, value]) => `<tr><th scope="row">${escapeHtml(name)}</th>${cell(value)}</tr>`).join('\n')}
</tbody></table></div>
<pre tabindex="0">${escapeHtml(JSON.stringify(facts.options, null, 2))}</pre></details>
</header>`
}

/** Values of the steps as the points of a line. */
function ofSteps({ series }: RunRecord, key: keyof StepValues, factor = 1): Line['points'] {
  return series.steps.map((step, i) => [step, series.values[key][i]! * factor] as const)
}

function stepCharts(record: RunRecord): string[] {
  const range = [0, record.steps] as const
  const { values, every } = record.series
  const marks = record.resumed
  const isThere = (key: 'balance' | 'frequency') => values[key].some((value) => value !== 0)
  const [balanced, frequencies] = [isThere('balance'), isThere('frequency')]
  const means = every > 1 ? `, means of ${every} steps` : ''
  const terms = [
    { label: 'loss', points: ofSteps(record, 'loss') },
    { label: 'data term', points: ofSteps(record, 'data') },
    ...(balanced ? [{ label: 'balancing term', points: ofSteps(record, 'balance') }] : []),
    ...(frequencies ? [{ label: 'frequency term', points: ofSteps(record, 'frequency') }] : []),
  ]
  // Balancing terms may be below 0, which a logarithm does not show.
  const log = !balanced || values.balance.every((value) => value > 0)
  return [
    lineChart({
      title: `Loss${means}`,
      lines: terms.length > 2 ? terms : terms.slice(0, 1),
      unit: 'loss',
      log,
      range,
      marks,
    }),
    lineChart({
      title: 'Learning rate',
      lines: [{ label: 'learning rate', points: ofSteps(record, 'learningRate') }],
      unit: 'rate',
      range,
      marks,
    }),
    ...(values.sigma.some((value) => value !== 0)
      ? [
          lineChart({
            title: 'Noise scale of the balancing term',
            lines: [{ label: 'sigma', points: ofSteps(record, 'sigma') }],
            unit: 'of pixel values 0 .. 1',
            range,
            marks,
          }),
        ]
      : []),
    lineChart({
      title: 'Speed',
      lines: [{ label: 'patches', points: ofSteps(record, 'imagesPerSecond') }],
      unit: 'HR patches a second',
      range,
      marks,
    }),
    lineChart({
      title: 'Time in which the device waits for data',
      lines: [{ label: 'waiting', points: ofSteps(record, 'waitForData', 100) }],
      unit: '% of the time',
      range,
      marks,
    }),
  ]
}

function validationCharts(record: RunRecord): string[] {
  const { validations, classes, steps, resumed } = record
  const last = validations.at(-1)
  if (!last) return []
  const line = (label: string, name: 'bicubic' | 'smallest' | 'largest'): Line => ({
    label,
    points: validations.map((entry) => [entry.step, entry[name] ?? Number.NaN] as const),
  })
  const values = Object.values(last.classes as ClassScores).flat() as (number | null)[]
  const lowest = Math.min(...values.filter((value) => value !== null))
  const present = classes.map((_, i) => i).filter((i) => last.classes.largest[i] !== null)
  const shown = present.filter(
    (_, i) => present.length <= MOST_LINES || i % Math.ceil(present.length / MOST_LINES) === 0,
  )
  return [
    lineChart({
      title: 'PSNR of the validation images',
      lines: [line('bicubic', 'bicubic'), line('smallest subnet', 'smallest'), line('largest subnet', 'largest')],
      unit: 'dB on Y',
      range: [0, steps],
      marks: resumed,
    }),
    barChart({
      title: `PSNR per difficulty class at step ${last.step} (1: easiest)`,
      groups: classes,
      bars: [
        { label: 'bicubic', values: last.classes.bicubic },
        { label: 'smallest subnet', values: last.classes.smallest },
        { label: 'largest subnet', values: last.classes.largest },
      ],
      groupName: 'class',
      unit: 'dB on Y',
      base: Number.isFinite(lowest) ? Math.floor(lowest - 1) : 0,
    }),
    lineChart({
      title: 'Gain of the largest subnet over bicubic, per difficulty class',
      lines: shown.map((i) => ({
        label: `class ${classes[i]}`,
        points: validations.map(
          (entry) => [entry.step, (entry.classes.largest[i] ?? Number.NaN) - (entry.classes.bicubic[i] ?? 0)] as const,
        ),
      })),
      unit: 'dB on Y',
      range: [0, steps],
      marks: resumed,
    }),
  ]
}

function samplingChart({ classes, indexed, drawn }: RunRecord): string {
  const share = (counts: readonly number[]) => {
    const total = counts.reduce((sum, count) => sum + count, 0) || 1
    return counts.map((count) => (100 * count) / total)
  }
  return barChart({
    title: 'Difficulty classes of the patches (1: easiest)',
    groups: classes,
    bars: [
      { label: 'in the photographs', values: share(indexed) },
      { label: 'drawn so far', values: share(drawn.counts) },
    ],
    groupName: 'class',
    unit: '% of the patches',
  })
}

function validationTable({ validations }: RunRecord): string {
  if (validations.length === 0) return ''
  const rows = validations
    .slice(-20)
    .reverse()
    .map(
      ({ step, bicubic, smallest, largest, best, seconds }) =>
        `<tr>${cell(String(step), true)}${[bicubic, smallest, largest].map((value) => cell(decibels(value), true)).join('')}` +
        `${cell(seconds.toFixed(1), true)}${cell(best ? 'best so far' : '')}</tr>`,
    )
  return `<details><summary>The last validations in numbers</summary><div class="scroll"><table>
<thead><tr><th class="number">step</th><th class="number">bicubic, dB</th><th class="number">smallest subnet</th><th class="number">largest subnet</th><th class="number">seconds</th><th></th></tr></thead>
<tbody>${rows.join('\n')}</tbody></table></div></details>`
}

function examples({ examples, exampleStep, exampleSource }: RunRecord): string {
  if (examples.length === 0) return ''
  const viewers = examples.map(
    ({ file, x, y, width, height }, i) => `<section class="example">
<h3>${escapeHtml(file)} <span class="faint">${width} × ${height} pixels at ${x}, ${y}</span></h3>
<wbsr-viewer data-example="${i}"></wbsr-viewer>
</section>`,
  )
  return `<h2>Examples at step ${exampleStep}</h2>
<p class="faint">Parts of ${exampleSource} photographs. SR is made by the subnets that the router chooses; of errors blue is 0 and red 32 of 255
and more.</p>
<div class="examples">${viewers.join('\n')}</div>`
}

export function reportPage(record: RunRecord): string {
  const body = `<main class="report">
${head(record)}
<h2>Quality</h2>
${record.validations.length === 0 ? '<p class="faint">No validation yet (data.validation names the photographs).</p>' : ''}
<div class="charts">${validationCharts(record).join('\n')}</div>
${validationTable(record)}
<h2>Steps</h2>
<div class="charts">${[...stepCharts(record), samplingChart(record)].join('\n')}</div>
${record.resumed.length > 0 ? `<p class="faint">Dashed: where another process went on, after step ${record.resumed.slice(-10).join(', ')}.</p>` : ''}
${examples(record)}
</main>
${jsonScript('run', record)}`
  return pageDocument({
    title: `${STATUS[record.status].split(':')[0]}, step ${record.step} of ${record.steps} - wbsr training`,
    styles: ['page.css', 'viewer.css', 'report.css'],
    scripts: ['viewer.js', 'report.js'],
    body,
  })
}
