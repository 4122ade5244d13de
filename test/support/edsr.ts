// A second, tiny backbone, written only for the tests: EDSR (Lim et al., CVPRW 2017) with the mean shift as 1x1
// convolutions. Names as in EDSR-PyTorch, so that the published weights of ../shared/data/weights load.
import { GraphBuilder, type Network } from '../../lib/networks/network.js'

export function edsr(family: { scale: number; widths: number[]; depths: number[] }): Network {
  const g = new GraphBuilder(family)
  const blocks = Math.max(...family.depths)
  const image = g.input()
  const head = g.conv('head.0', image, 'width')
  const trunk = g.stack(head, (x, i) =>
    g.add(g.conv(`body.${i}.body.2`, g.relu(g.conv(`body.${i}.body.0`, x, 'width')), 'width'), x),
  )
  const body = g.add(g.conv(`body.${blocks}`, trunk, 'width'), head)
  const up = g.pixelShuffle(g.conv('tail.0.0', body, { times: family.scale ** 2 }), family.scale)
  return g.build('edsr', g.conv('tail.1', up, 3))
}
