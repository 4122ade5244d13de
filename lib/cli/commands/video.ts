// wbsr video: its options and help. What it does is in lib/cli/video.ts.
import { type Command, Option } from 'commander'
import { MAX_FACTOR } from '../../stream/target.js'
import type { VideoFlags } from '../flags.js'
import { deviceFlags, routingFlags } from '../model.js'
import { integer, number, size } from '../values.js'

/** What a video becomes. */
export function videoFlags(command: Command): Command {
  return command
    .addOption(
      new Option('-s, --scale <factor>', `of a video: any factor from 1 to ${MAX_FACTOR} (default: the model's)`)
        .argParser(number(1, MAX_FACTOR))
        .conflicts('size'),
    )
    .option('--size <WxH>', 'of a video, in pixels: 1920x1080; 1920x and x1080 keep the shape', size)
    .option(
      '--threshold <levels>',
      'largest difference, of 255, of pixels of a video that count as unchanged (default: 0, exactly equal)',
      number(0, 255),
    )
    .option('--encoder <name>', "of ffmpeg (default: libx264, for WebM libvpx-vp9; 'ffmpeg -encoders' lists them)")
    .option('--encoder-options <text>', "in quotes, as ffmpeg takes them: '-crf 20 -preset slow'")
}

export function videoCommand(program: Command): void {
  const command = deviceFlags(
    routingFlags(
      program
        .command('video')
        .summary("enlarge a video with this machine's ffmpeg")
        .description(
          'Enlarges a video. ffmpeg decodes and encodes through pipes; audio, subtitles, chapters, timestamps, 10 bits and ' +
            'colour tags are kept. Parts that did not change since the last frame are not computed again. A run that was ' +
            'stopped or killed goes on when the same command is given again.',
        )
        .argument('<input>', 'a video that ffmpeg reads')
        .argument('<output>', 'the new file: .mp4, .mov, .m4v, .mkv, .webm or .nut')
        .option(
          '-m, --model <file>',
          'a model of wbsr or of another tool; or wbsr:NAME of the package (default: its x2, or x4 for more)',
        ),
    ),
  )
  videoFlags(command)
    .option('--segment <frames>', 'after which a run that is killed goes on (default: 96)', integer(1, 1 << 20))
    .option('--no-resume', 'begin anew')
    .option('--json', 'one JSON object per second, and one at the end, on standard output')
    .option('--quiet', 'errors only')
    .addHelpText(
      'after',
      `
Examples:
  wbsr video in.mp4 out.mp4
  wbsr video in.mkv out.mkv -m x4.pth --size x2160 --encoder libx265 --encoder-options '-crf 18 -preset slow'
  wbsr video screen.mp4 large.mp4 -m x2.safetensors --threshold 2`,
    )
    .action(async (input: string, output: string, flags: VideoFlags) => {
      const { video } = await import('../video.js')
      await video(input, output, flags)
    })
}
