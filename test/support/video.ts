// Clips for tests, made by ffmpeg's own sources, and what ffprobe says of files.
import { execFileSync, spawnSync } from 'node:child_process'

/** Reason to skip tests that need ffmpeg with these encoders, or false. */
export function withoutFfmpeg(...encoders: string[]): string | false {
  const { status, stdout } = spawnSync('ffmpeg', ['-v', 'error', '-encoders'], { encoding: 'utf8' })
  if (status !== 0) return 'ffmpeg is not installed (apt-get install ffmpeg)'
  const missing = encoders.filter((name) => !stdout.includes(` ${name} `))
  return missing.length > 0 ? `this ffmpeg has no ${missing.join(', ')}` : false
}

export function ffmpeg(...args: string[]): string {
  return execFileSync('ffmpeg', ['-hide_banner', '-v', 'error', '-nostdin', '-y', ...args], {
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  })
}

/** What ffprobe prints. */
export function probed(file: string): { streams: any[]; format: any; chapters: any[] } {
  const args = ['-v', 'error', '-of', 'json', '-show_streams', '-show_format', '-show_chapters', file]
  return JSON.parse(execFileSync('ffprobe', args, { encoding: 'utf8' }))
}

/** Copies a clip, to be shown turned by a quarter. ffmpeg 5 writes the tag, later versions want the option. */
export function turned(from: string, to: string): void {
  ffmpeg('-i', from, '-map', '0', '-c', 'copy', '-metadata:s:v:0', 'rotate=90', to)
  const { side_data_list } = probed(to).streams.find(({ codec_type }) => codec_type === 'video')!
  if (!side_data_list) ffmpeg('-display_rotation', '-90', '-i', from, '-map', '0', '-c', 'copy', to)
}

/** Timestamps of the decoded frames of the first video stream, in seconds. */
export function frameTimes(file: string): number[] {
  const args = ['-v', 'error', '-select_streams', 'v:0', '-show_entries', 'frame=pts_time', '-of', 'csv=p=0', file]
  return (
    execFileSync('ffprobe', args, { encoding: 'utf8', maxBuffer: 1 << 26 })
      .trim()
      .split('\n')
      // Side data of a frame has lines of its own.
      .filter((line) => /^[\d.]+/.test(line))
      .map((line) => Number(line.split(',')[0]))
  )
}

/** MD5 of each decoded frame of the first video stream. */
export function frameHashes(file: string): string[] {
  return ffmpeg('-i', file, '-map', '0:v:0', '-f', 'framemd5', '-')
    .split('\n')
    .filter((line) => /^0,/.test(line))
    .map((line) => line.split(',').at(-1)!.trim())
}

/** Decoded frames as RGB, 8 bits. */
export function rgbFrames(file: string, filter = 'null'): Buffer {
  return execFileSync(
    'ffmpeg',
    ['-v', 'error', '-i', file, '-map', '0:v:0', '-vf', filter, '-f', 'rawvideo', '-pix_fmt', 'rgb24', '-'],
    { maxBuffer: 1 << 29 },
  )
}
