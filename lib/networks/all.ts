// All backbones, in the order in which loadModel tries to recognise their files.
import type { Architecture, Backbone } from './architecture.js'
import { carnArchitecture } from './carn.js'
import { dispArchitecture } from './disp.js'
import { edsrArchitecture } from './edsr.js'
import { espcnArchitecture } from './espcn.js'
import { fmenArchitecture } from './fmen.js'
import { fsrcnnArchitecture } from './fsrcnn.js'
import { imdnArchitecture } from './imdn.js'
import { plainusrArchitecture } from './plainusr.js'
import { rcanArchitecture } from './rcan.js'
import { rfdnArchitecture } from './rfdn.js'
import { rlfnArchitecture } from './rlfn.js'
import { rrdbArchitecture } from './rrdb.js'
import { safmnArchitecture } from './safmn.js'
import { spanArchitecture } from './span.js'
import { spanfArchitecture } from './spanf.js'
import { spanv2Architecture } from './spanv2.js'
import { srresnetArchitecture } from './srresnet.js'
import { srresnetPreluArchitecture } from './srresnet-prelu.js'
import { srvggArchitecture } from './srvgg.js'

/** Those without published weights are a Backbone alone. */
export const backbones: readonly (Architecture | Backbone)[] = [
  rrdbArchitecture,
  spanArchitecture,
  spanfArchitecture,
  spanv2Architecture,
  dispArchitecture,
  rlfnArchitecture,
  rfdnArchitecture,
  imdnArchitecture,
  plainusrArchitecture,
  fmenArchitecture,
  safmnArchitecture,
  carnArchitecture,
  rcanArchitecture,
  edsrArchitecture,
  srresnetPreluArchitecture,
  srresnetArchitecture,
  fsrcnnArchitecture,
  espcnArchitecture,
  // The shortest list of keys last.
  srvggArchitecture,
]

/** The backbones whose files loadModel recognises. */
export const architectures = backbones.filter((backbone) => 'read' in backbone)
