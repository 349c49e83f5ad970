/**
 * Sine and exponential built from additions and multiplications alone. ECMAScript leaves the accuracy of Math.sin and
 * Math.exp to the engine, so their last bits differ between versions of V8 and between processors; one such bit, fed
 * back through a thousand training steps, would give every machine its own model. IEEE additions and multiplications
 * are exact everywhere.
 */

/** Math.LN2 and Math.PI are fixed by the standard, unlike the functions. */
const LN2 = Math.LN2;
const HALF_PI = Math.PI / 2;

/** sin(2 pi turns), within 1e-7: a Taylor polynomial of degree 11 on a quarter turn. */
export function sinTurns(turns: number): number {
  let phase = turns - Math.floor(turns + 0.5);
  if (phase > 0.25) phase = 0.5 - phase;
  else if (phase < -0.25) phase = -0.5 - phase;
  const x = phase * 4 * HALF_PI;
  const y = x * x;
  return x * (1 - (y / 6) * (1 - (y / 20) * (1 - (y / 42) * (1 - (y / 72) * (1 - y / 110)))));
}

export function cosTurns(turns: number): number {
  return sinTurns(turns + 0.25);
}

/** e^x for x <= 0, which is all a softmax asks for; below -40 it answers e^-40, far under what a gradient notices. */
export function expNegative(x: number): number {
  const clamped = Math.max(x, -40);
  const halvings = Math.floor(-clamped / LN2 + 0.5);
  const r = clamped + halvings * LN2;
  let value = 1 + r * (1 + (r / 2) * (1 + (r / 3) * (1 + (r / 4) * (1 + (r / 5) * (1 + (r / 6) * (1 + r / 7))))));
  for (let i = 0; i < halvings; i++) value *= 0.5;
  return value;
}
