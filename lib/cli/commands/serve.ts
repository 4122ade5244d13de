// wbsr serve: its options and help. What it does is in lib/cli/serve.
import type { Command } from 'commander'
import type { ServeFlags } from '../flags.js'
import { deviceFlags } from '../model.js'
import { integer, number } from '../values.js'

export function serveCommand(program: Command): void {
  deviceFlags(
    program
      .command('serve')
      .summary('a local web page: drop pictures, see before and after, download')
      .description(
        'Serves a web page for people who do not use terminals. It is reached from this computer alone unless --host says ' +
          'otherwise; there are no passwords. Pictures are kept in a temporary folder for a while and go when the server ends.',
      )
      .option('-m, --model <file>', 'offered first; by default the models of the package are')
      .option('--host <address>', 'to listen on; 0.0.0.0 lets other computers in', '127.0.0.1')
      .option('--port <number>', '0: any that is free', integer(0, 65_535), 8480)
      .option('--allow-host <name...>', 'names under which the server is reached besides localhost, as behind a proxy')
      .option('--queue <pictures>', 'that are uploaded, wait or run, of all people together', integer(1, 10_000), 32)
      .option('--per-client <pictures>', 'the same, of one person', integer(1, 10_000), 8)
      .option('--max-bytes <MB>', 'of a picture that is uploaded', number(0.001, 4096), 64)
      .option('--max-pixels <millions>', 'of such a picture', number(0.0001, 1000), 30)
      .option('--max-result <millions>', 'of pixels of a result', number(0.0001, 1000), 100)
      .option('--time-limit <seconds>', 'for one picture, from its turn on', number(0.01, 86_400), 600)
      .option('--keep <minutes>', 'that a result stays after it was last looked at', number(0.01, 10_000), 30)
      .option('--quiet', 'errors only'),
  )
    .addHelpText(
      'after',
      `
Examples:
  wbsr serve                                open http://127.0.0.1:8480/ in a browser
  wbsr serve -m x2.safetensors --port 9000
  wbsr serve --host 0.0.0.0 --max-pixels 12 --time-limit 120     for others in the network`,
    )
    .action(async (flags: ServeFlags) => {
      const { serve } = await import('../serve/serve.js')
      await serve(flags)
    })
}
