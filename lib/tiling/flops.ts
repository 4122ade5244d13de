// Cost of regions and pictures in FLOPs. Only this file scales the FLOPs of a patch to other areas.
import type { InferRegion, NativeSubnet } from '../native.js'

/** LR pixels of the patch that NativeSubnet.flops counts. */
const PATCH_PIXELS = 32 * 32

/** 2 x MAC of a subnet whose trunk runs on `trunk` LR pixels and whose upsampling tail runs on `tail` of them. */
export function flopsOf(subnet: NativeSubnet, trunk: number, tail: number): number {
  return ((subnet.flops - subnet.tailFlops) * trunk + subnet.tailFlops * tail) / PATCH_PIXELS
}

/** 2 x MAC of a subnet on a picture of width x height LR pixels, without halo. */
export function pictureFlops(subnet: NativeSubnet, width: number, height: number): number {
  return (subnet.flops * width * height) / PATCH_PIXELS
}

/** Cost of every subnet as a share of the largest subnet's, ascending; halo not counted. */
export function costShares(subnets: readonly NativeSubnet[]): number[] {
  const largest = subnets.at(-1)!.flops
  return subnets.map(({ flops }) => flops / largest)
}

/** 2 x MAC of a region: the trunk runs on its input, the tail on its kept part and the tail's receptive field around that. */
export function regionFlops(region: InferRegion, subnet: NativeSubnet): number {
  const inside = (start: number, length: number, seenStart: number, seenLength: number) =>
    Math.min(start + length + subnet.tailField, seenStart + seenLength) - Math.max(start - subnet.tailField, seenStart)
  const tail =
    inside(region.keepX, region.keepWidth, region.x, region.width) *
    inside(region.keepY, region.keepHeight, region.y, region.height)
  return flopsOf(subnet, region.width * region.height, tail)
}
