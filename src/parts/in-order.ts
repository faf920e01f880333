/**
 * What `work` makes of the items, in their order, while it is at work on the `ahead` next ones. After a failure, or when nobody reads on, waits for
 * what was under way.
 */
export async function* inOrder<Item, Result>(
  items: Iterable<Item>,
  ahead: number,
  work: (item: Item) => Promise<Result>,
): AsyncGenerator<Result> {
  const underWay: Promise<Result>[] = []
  const take = (started: Promise<Result>) => {
    // Whoever takes it in its turn hears of its failure.
    started.catch(() => {})
    underWay.push(started)
  }
  try {
    for (const item of items) {
      take(work(item))
      if (underWay.length > ahead) yield await underWay.shift()!
    }
    while (underWay.length > 0) yield await underWay.shift()!
  } finally {
    await Promise.allSettled(underWay)
  }
}
