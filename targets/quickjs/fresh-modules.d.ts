/** A package that is evaluated at each call and garbage afterwards (scripts/firmware/fresh-module.ts). */
declare module 'fresh:@stablelib/ed25519' {
  import type { verify } from '@stablelib/ed25519';
  export default function load(): typeof verify;
}
