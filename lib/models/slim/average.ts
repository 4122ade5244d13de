// Weights between those of two models of one network: what a short training gained, with less of what it forgot.
import { checkDeviceOptions } from '../../devices.js'
import { invalidOption, wrapError } from '../../errors.js'
import { networkDifference } from '../../networks/check.js'
import { checkNumber, checkObject } from '../../options.js'
import { SupernetModel, stateOf } from '../model.js'
import { engineWith, ownDevice } from './slim.js'

/** Weights of {@link averageModels}. */
export interface AverageOptions {
  /** Of the trained model's weights, 0 .. 1; the rest are the start's. Default 0.7. */
  share?: number
}

/**
 * A model whose weights lie between those of a trained model and those that its training started from (Wortsman et al.,
 * CVPR 2022). After a short training of what `slimFrom` made, the largest subnet regains most of what it lost, while smaller
 * ones keep most of what they gained.
 *
 * @param start of the same network, e.g. the model that was given to trainSupernet as `from`
 * @returns another model on the device of `trained`, without a router table: calibrateRouter measures it
 * @throws WbsrError WBSR_INVALID_OPTION: their networks differ; WBSR_DISPOSED
 */
export async function averageModels(
  trained: SupernetModel,
  start: SupernetModel,
  options: AverageOptions = {},
): Promise<SupernetModel> {
  for (const [name, model] of Object.entries({ trained, start }))
    if (!(model instanceof SupernetModel)) throw invalidOption(name, 'a model', model)
  const { share = 0.7 } = checkObject(options, 'averageModels options', ['share'])
  const part = checkNumber(share, 'share', 0, 1)
  const [state, other] = [stateOf(trained), stateOf(start)]
  const difference = networkDifference(other.network, state.network)
  if (difference) throw invalidOption('start', `a model of the same network (${difference})`, start)
  let weights: Float32Array
  try {
    const from = await other.engine.readWeights()
    weights = (await state.engine.readWeights()).map((value, i) => from[i]! + part * (value - from[i]!))
  } catch (error) {
    throw wrapError(error)
  }
  const device = checkDeviceOptions(ownDevice(state.engine))
  const { engine, fallbackReason } = engineWith(state.network, state.engine.parameters, weights, device)
  return new SupernetModel({
    ...state,
    router: null,
    arm: undefined,
    tileRouters: undefined,
    engine,
    fallbackReason,
    disposed: false,
  })
}
