/** What is written by whoever is killed, and by whoever finishes it. */
export const killedSizes = { sizes: [...Array.from({ length: 40 }, (_, index) => index * 777), 6_000_000, 9_000_001] }
