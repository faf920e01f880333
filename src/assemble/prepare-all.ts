/** Something that is ready to be done, or to be left. */
export interface Prepared {
  abandon(): Promise<void>
}

/** Prepares one after the other. When one cannot be prepared, those before it are abandoned, and its failure is thrown on. */
export async function prepareAll<Each extends readonly Prepared[]>(
  ...steps: { readonly [Place in keyof Each]: () => Promise<Each[Place]> }
): Promise<Each> {
  const prepared: Prepared[] = []
  try {
    for (const step of steps) prepared.push(await step())
    return prepared as unknown as Each
  } catch (error) {
    await Promise.all(prepared.map((each) => each.abandon()))
    throw error
  }
}
