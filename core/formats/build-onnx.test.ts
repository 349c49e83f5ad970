/** Builds protobuf and small ONNX files for the tests after onnx/onnx.proto, apart from the reader. No tests of its own. */

type Bytes = readonly number[];

/** 64-bit two's complement, shortest form. */
export function varint(value: number | bigint): Bytes {
  let left = BigInt.asUintN(64, BigInt(value));
  const bytes: number[] = [];
  do {
    bytes.push(Number(left & 0x7fn) | (left > 0x7fn ? 0x80 : 0));
    left >>= 7n;
  } while (left > 0n);
  return bytes;
}

export function number(field: number, value: number | bigint): Bytes {
  return [...varint(field * 8), ...varint(value)];
}

/** `length` lies when given. */
export function prefixed(field: number, payload: Bytes | Uint8Array | string, length?: number | bigint): Bytes {
  const bytes = typeof payload === 'string' ? new TextEncoder().encode(payload) : payload;
  return [...varint(field * 8 + 2), ...varint(length ?? bytes.length), ...bytes];
}

export const TYPE = {
  f32: 1,
  u8: 2,
  i8: 3,
  i64: 7,
  string: 8,
  f16: 10,
  f64: 11,
  complex64: 14,
  bf16: 16,
  e4m3: 17,
  u4: 21,
  i4: 22,
} as const;

export function floats(values: readonly number[]): Bytes {
  return Array.from(new Uint8Array(Float32Array.from(values).buffer));
}

/** `data`: fields that hold it; `raw` for the usual one. */
export function tensor(name: string, type: number, dims: readonly (number | bigint)[], ...data: Bytes[]): Bytes {
  return [...dims.flatMap((size) => number(1, size)), ...number(2, type), ...data.flat(), ...prefixed(8, name)];
}

export function raw(bytes: Bytes): Bytes {
  return prefixed(9, bytes);
}

export function ramp(length: number, first: number): Bytes {
  return Array.from({ length }, (_, i) => (first + 3 * i) & 255);
}

interface NodeParts {
  readonly inputs?: readonly string[];
  readonly outputs?: readonly string[];
  readonly attributes?: readonly Bytes[];
}

export function node(opType: string, { inputs = [], outputs = [], attributes = [] }: NodeParts): Bytes {
  return [
    ...inputs.flatMap((name) => prefixed(1, name)),
    ...attributes.flatMap((attribute) => prefixed(5, attribute)),
    ...prefixed(4, opType),
    ...outputs.flatMap((name) => prefixed(2, name)),
  ];
}

export function attribute(name: string, ...value: Bytes[]): Bytes {
  return [...prefixed(1, name), ...value.flat()];
}

/** A node that is a tensor. */
export function constant(output: string, value: Bytes): Bytes {
  return node('Constant', { outputs: [output], attributes: [attribute('value', prefixed(5, value))] });
}

export interface GraphParts {
  readonly nodes?: readonly Bytes[];
  readonly initializers?: readonly Bytes[];
  readonly sparse?: readonly Bytes[];
}

export function graph({ nodes = [], initializers = [], sparse = [] }: GraphParts): Bytes {
  return [
    ...nodes.flatMap((bytes) => prefixed(1, bytes)),
    ...prefixed(2, 'g'),
    ...initializers.flatMap((bytes) => prefixed(5, bytes)),
    ...sparse.flatMap((bytes) => prefixed(15, bytes)),
  ];
}

/** A ModelProto around a graph. */
export function model(graphBytes: Bytes, ...more: Bytes[]): Uint8Array {
  return Uint8Array.from([...number(1, 8), ...prefixed(2, 'tests'), ...prefixed(7, graphBytes), ...more.flat()]);
}

/** One of everything the reader tells apart. */
export const SMALL: GraphParts = {
  nodes: [
    node('DequantizeLinear', {
      inputs: ['w', 'w_scale', 'w_zero'],
      outputs: ['w_real'],
      attributes: [attribute('axis', number(3, 0))],
    }),
    node('If', {
      inputs: ['condition'],
      outputs: ['y'],
      attributes: [
        attribute(
          'then_branch',
          prefixed(6, graph({ nodes: [constant('é', tensor('', TYPE.f16, [2], raw(ramp(4, 9))))] })),
        ),
        attribute('else_branch', prefixed(6, graph({ initializers: [tensor('z', TYPE.i4, [3], raw([0x21, 3]))] }))),
      ],
    }),
  ],
  initializers: [
    tensor('w', TYPE.i8, [4, 3], raw(ramp(12, 1))),
    tensor('w_scale', TYPE.f32, [4], raw(floats([0.5, 0.25, 2, 1]))),
    tensor('bias', TYPE.f32, [3], prefixed(4, floats([1, 2, 3]))),
    tensor('pi', TYPE.f64, [1], prefixed(10, ramp(8, 2))),
    tensor('varints', TYPE.i64, [2], prefixed(7, [1, 2])),
    tensor('elsewhere', TYPE.f32, [1 << 20], prefixed(13, prefixed(1, 'location')), raw([1]), number(14, 1)),
    tensor('text', TYPE.string, [1], prefixed(6, 'hello')),
    tensor('empty', TYPE.f32, [0], raw([])),
  ],
  sparse: [
    [
      ...prefixed(1, tensor('s', TYPE.f32, [2], raw(floats([7, 8])))),
      ...prefixed(2, tensor('', TYPE.i64, [2], raw(ramp(16, 0)))),
      ...number(3, 9),
    ],
  ],
};
