// wbsr doctor: its options and help. What it does is in lib/cli/doctor.ts.
import type { Command } from 'commander'
import type { DoctorFlags } from '../flags.js'
import { deviceFlags } from '../model.js'

export function doctorCommand(program: Command): void {
  deviceFlags(
    program
      .command('doctor')
      .summary('what this machine can run, and a two-second test')
      .description(
        'Tells the versions, the devices and libraries that were found and why others were not, and runs a network for two ' +
          'seconds with its figures. The exit status is 1 where the test fails.',
      )
      .option('--json', 'JSON on standard output'),
  )
    .addHelpText(
      'after',
      `
Examples:
  wbsr doctor
  wbsr doctor --device cuda
  wbsr doctor --json > machine.json`,
    )
    .action(async (flags: DoctorFlags) => {
      const { doctor } = await import('../doctor.js')
      await doctor(flags)
    })
}
