/** Which elements of a tensor share a channel, along the axes that exporters scale. Encoder side only. */

import { MAX_PLACE } from '../codec/rescale.js';
import type { Tensor } from '../formats/model.js';

/** As in ChannelPlaces: element e is of channel (floor(e / outer) group + floor(e / inner) mod group) mod count. */
export interface ChannelAxis {
  readonly count: number;
  readonly inner: number;
  readonly group: number;
  readonly outer: number;
}

export interface TensorAxes {
  /** Output channels, which quantisers give scales of their own; null where the tensor has none. */
  readonly rows: ChannelAxis | null;
  /** Input channels, which exporters scale to balance layers; never interleaved. */
  readonly columns: ChannelAxis | null;
  /** Elements from the tensor's start that the axes hold for. */
  readonly elements: number;
}

function plain(count: number, inner: number): ChannelAxis | null {
  return inner > MAX_PLACE ? null : { count, inner, group: 1, outer: inner };
}

/** Channels lie along the axis of the scales, or the first (TFLite: OHWI; matrices: [out, in]). */
export function axesOf(tensor: Tensor): TensorAxes {
  const { shape, scaleAxis, interleaved = 0 } = tensor;
  const elements = shape.reduce((product, size) => product * size, 1);
  if (interleaved > 0) return interleavedAxes(tensor, interleaved);
  const last = shape.length - 1;
  const rowAxis = tensor.scales.length > 1 ? scaleAxis : shape.findIndex((size) => size > 1);
  if (rowAxis < 0) return { rows: null, columns: null, elements };
  let inner = 1;
  for (let axis = rowAxis + 1; axis < shape.length; axis++) inner *= shape[axis]!;
  const rows = plain(shape[rowAxis]!, inner);
  return { rows, columns: rowAxis < last && shape[last]! > 1 ? plain(shape[last]!, 1) : null, elements };
}

/** '(N/16)HWC16': blocks of 16 output channels, whose values lie side by side; the channels left over lie otherwise. */
function interleavedAxes({ shape }: Tensor, lanes: number): TensorAxes {
  const [height = 1, width = 1, inputs = 1, outputs = 1] = shape;
  // A depthwise filter's channels are its inputs.
  const [channels, between] = outputs === 1 ? [inputs, 1] : [outputs, inputs];
  const outer = height * width * between * lanes;
  const whole = Math.floor(channels / lanes) * lanes;
  if (whole === 0 || outer > MAX_PLACE) return { rows: null, columns: null, elements: 0 };
  return {
    rows: { count: whole, inner: 1, group: lanes, outer },
    columns: between > 1 ? plain(between, lanes) : null,
    elements: (whole / lanes) * outer,
  };
}

export function channelAt({ count, inner, group, outer }: ChannelAxis, element: number): number {
  return (Math.floor(element / outer) * group + (Math.floor(element / inner) % group)) % count;
}

/** The run's elements of an axis with only the channels they have, as far as that takes no more than a new phase. */
export function cutAxis(
  axis: ChannelAxis,
  first: number,
  count: number,
): { readonly axis: ChannelAxis; readonly channel: number; readonly phase: number } {
  const from = Math.floor(first / axis.outer);
  const until = Math.floor((first + count - 1) / axis.outer) + 1;
  const channels = (until - from) * axis.group;
  const start = (from * axis.group) % axis.count;
  if (start + channels > axis.count)
    return { axis, channel: 0, phase: first % ((axis.outer * axis.count) / axis.group) };
  return { axis: { ...axis, count: channels }, channel: start, phase: first - from * axis.outer };
}
