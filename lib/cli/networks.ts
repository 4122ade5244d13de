// Backbones by the names that the command line and configuration files use.
import { invalidOption } from '../errors.js'
import {
  carn,
  disp,
  edsr,
  espcn,
  fmen,
  fsrcnn,
  imdn,
  type Network,
  plainusr,
  rcan,
  rfdn,
  rlfn,
  rrdb,
  safmn,
  span,
  spanf,
  spanv2,
  srresnet,
  srresnetPrelu,
  srvgg,
} from '../index.js'

const BACKBONES: Record<string, (options: never) => Network> = {
  srresnet,
  rcan,
  carn,
  disp,
  edsr,
  espcn,
  fmen,
  fsrcnn,
  imdn,
  plainusr,
  rfdn,
  rlfn,
  rrdb,
  safmn,
  span,
  spanf,
  spanv2,
  'srresnet-prelu': srresnetPrelu,
  srvgg,
}

export const backboneNames: readonly string[] = Object.keys(BACKBONES)

/**
 * The backbone of that name, with the options of its function.
 *
 * @throws WbsrError WBSR_INVALID_OPTION
 */
export function makeNetwork(name: unknown, options: Record<string, unknown>): Network {
  if (typeof name !== 'string' || !Object.hasOwn(BACKBONES, name))
    throw invalidOption('network', `one of ${backboneNames.join(', ')}`, name)
  return BACKBONES[name]!(options as never)
}
