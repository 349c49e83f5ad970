/** An edit of a source file, by its text. `from` must occur exactly once, so that a list that no longer fits the source fails. */
export interface Edit {
  /** From the checkout's root. */
  readonly file: string;
  readonly from: string;
  readonly to: string;
}
