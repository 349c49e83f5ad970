/**
 * Which channel each element is of, for elements one after another: (floor(e / outer) group + floor(e / inner) mod group) mod count.
 * It counts along, since divisions for each element took most of the time that fitting ratios takes.
 */
export class ChannelWalk {
  /** Of the element that the walk is at. */
  channel = 0;
  private count = 1;
  private inner = 1;
  private group = 1;
  private outer = 1;
  /** Elements left of the stretch of `inner` and of `outer`, the stretch's first channel and the place from there. */
  private innerLeft = 0;
  private outerLeft = 0;
  private first = 0;
  private lane = 0;

  begin(count: number, inner: number, group: number, outer: number, element: number): void {
    this.count = count;
    this.inner = inner;
    this.group = group;
    this.outer = outer;
    this.innerLeft = inner - (element % inner);
    this.outerLeft = outer - (element % outer);
    this.first = (Math.floor(element / outer) * group) % count;
    this.lane = Math.floor(element / inner) % group;
    this.channel = (this.first + this.lane) % count;
  }

  /** Goes on to the next element. */
  next(): void {
    if (--this.innerLeft === 0) {
      this.innerLeft = this.inner;
      this.lane = this.lane + 1 === this.group ? 0 : this.lane + 1;
      const next = this.channel + 1 === this.count ? 0 : this.channel + 1;
      this.channel = this.lane === 0 ? this.first : next;
    }
    if (--this.outerLeft === 0) {
      this.outerLeft = this.outer;
      this.first = (this.first + this.group) % this.count;
      this.channel = (this.first + this.lane) % this.count;
    }
  }
}
