/**
 * Keeps secrets out of what people read: logs, reports, history. Addresses carry them (user:password@, the query of a presigned
 * URL), configuration does, and error messages of libraries quote both.
 */

const HIDDEN = '***';
/** A shorter one would blot out innocent text, and protects nothing. */
const MIN_SECRET_LENGTH = 4;
const SECRET_NAME = /password|passphrase|secret|token|authorization|private_?key|^key$/i;
/** More is cut off: text may be a stranger's, and nobody reads on. */
const MAX_TEXT_LENGTH = 4096;
/** Of logged values; deeper ones are not ours. */
const MAX_DEPTH = 6;

/** Credentials, query and fragment of every URL in `text`, and private keys in PEM. */
export function redactText(text: string): string {
  return (
    text
      .slice(0, MAX_TEXT_LENGTH)
      .replace(/-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(-----END [A-Z ]*PRIVATE KEY-----|$)/g, HIDDEN)
      // Greedy up to the last @ before the path: a password may hold one.
      .replace(/(\b[a-z][a-z0-9+.-]*:\/\/)[^/?#\s"'<>]*@/gi, `$1${HIDDEN}@`)
      .replace(/(\b[a-z][a-z0-9+.-]*:\/\/[^?#\s"'<>]*[?#])[^\s"'<>]+/gi, `$1${HIDDEN}`)
  );
}

/** Also hides `secrets` themselves, wherever they stand, and whatever has the name of a secret. */
export type Redact = <T>(value: T) => T;

export function redactor(secrets: readonly (string | undefined)[]): Redact {
  const hidden = secrets.flatMap((secret) =>
    secret === undefined || secret.length < MIN_SECRET_LENGTH ? [] : [secret, encodeURIComponent(secret)],
  );
  const text = (value: string): string =>
    redactText(hidden.reduce((sum, secret) => sum.replaceAll(secret, HIDDEN), value));
  const walk = (value: unknown, depth: number): unknown => {
    if (typeof value === 'string') return text(value);
    if (typeof value !== 'object' || value === null) return value;
    if (value instanceof Error) return text(value.message);
    // Bytes in a log are never for reading.
    if (ArrayBuffer.isView(value) || depth >= MAX_DEPTH) return HIDDEN;
    if (Array.isArray(value)) return value.map((item) => walk(item, depth + 1));
    return Object.fromEntries(
      Object.entries(value).map(([name, item]) => [
        name,
        SECRET_NAME.test(name) && item !== null && item !== undefined ? HIDDEN : walk(item, depth + 1),
      ]),
    );
  };
  return <T>(value: T): T => walk(value, 0) as T;
}
