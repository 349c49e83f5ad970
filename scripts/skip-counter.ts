/** A reporter for node's test runner: how many tests were skipped because the real models are not there. */

interface TestEvent {
  readonly type: string;
  readonly data: { readonly skip?: string | boolean };
}

export default async function* countSkipped(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  let count = 0;
  for await (const { type, data } of events) {
    const reason = type === 'test:pass' || type === 'test:fail' ? data.skip : undefined;
    if (typeof reason === 'string' && reason.includes('shared/models')) count++;
  }
  yield String(count);
}
