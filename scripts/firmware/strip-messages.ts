/**
 * Takes the texts of errors out of a bundle for microcontrollers, where each one would lie in RAM for ever: a device answers with
 * codes. What is a message is told by its looks: every template literal, and every string with a space in it. A domain separator
 * ends with a NUL and stays.
 */
import { type Node, parse } from 'acorn';

export function stripMessages(code: string): string {
  const program = parse(code, { ecmaVersion: 2022, sourceType: 'module' });
  const cuts: Node[] = [];
  collect(program, cuts);
  let out = '';
  let at = 0;
  for (const { start, end } of cuts.sort((a, b) => a.start - b.start)) {
    out += `${code.slice(at, start)}''`;
    at = end;
  }
  return out + code.slice(at);
}

function collect(node: Node, cuts: Node[]): void {
  if (isMessage(node)) {
    cuts.push(node);
    return;
  }
  for (const value of Object.values(node)) {
    for (const child of Array.isArray(value) ? value : [value]) {
      if (typeof child === 'object' && child !== null && typeof (child as Node).type === 'string') collect(child, cuts);
    }
  }
}

function isMessage(node: Node): boolean {
  if (node.type === 'TemplateLiteral') return true;
  const { value } = node as Node & { value?: unknown };
  return node.type === 'Literal' && typeof value === 'string' && value.includes(' ') && !value.endsWith('\0');
}
