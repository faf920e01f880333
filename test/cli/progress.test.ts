import { describe, expect, it } from 'vitest'
import { Progress } from '../../src/cli/progress.js'
import type { JobDetails, JobItem } from '../../src/mirror/jobs.js'

const MIB = 1024 * 1024

function item(name: string, state: JobItem['state'], doneMib = 0, note: string | null = null): JobItem {
  return { name, state, sizeBytes: 100 * MIB, doneBytes: doneMib * MIB, note }
}

function job(items: readonly JobItem[], more: Partial<JobDetails> = {}): JobDetails {
  const sum = (numbers: readonly number[]) => numbers.reduce((left, right) => left + right, 0)
  return {
    id: '00000000-0000-4000-8000-000000000000' as JobDetails['id'],
    kind: 'import',
    title: 'import of something',
    by: 'somebody',
    state: 'running',
    startedMs: 0,
    endedMs: null,
    totalBytes: sum(items.map(({ sizeBytes }) => sizeBytes ?? 0)),
    doneBytes: sum(items.map(({ doneBytes }) => doneBytes)),
    itemCount: items.length,
    itemsEnded: items.filter(({ state }) => state === 'done').length,
    isCancellable: true,
    error: null,
    result: null,
    items,
    ...more,
  }
}

describe('the progress of a job', () => {
  it('is drawn per image and in all, with rate and time left', () => {
    const progress = new Progress()
    progress.take(job([item('base', 'running', 0), item('app', 'waiting')]), 0)
    progress.take(job([item('base', 'running', 20), item('app', 'waiting')]), 2000)
    expect(progress.draw(120)).toEqual([
      'base                                                           20%  20.0 MiB of 100 MiB  10.0 MiB/s  8s left',
      '[==                  ]  0 of 2   10%  20.0 MiB of 200 MiB  10.0 MiB/s  18s left',
    ])
  })

  it('never wraps, however narrow the terminal and long the name', () => {
    const progress = new Progress()
    progress.take(job([item('a'.repeat(300), 'running', 0)]), 0)
    progress.take(job([item('a'.repeat(300), 'running', 20)]), 2000)
    for (const columns of [20, 40, 80, 200]) {
      for (const line of progress.draw(columns)) expect(line.length).toBeLessThan(columns)
    }
  })

  it('tells each end once', () => {
    const progress = new Progress()
    progress.take(job([item('base', 'running', 5), item('bad', 'running')]), 0)
    const ended = job([item('base', 'done', 100), item('bad', 'failed', 0, 'nobody has it')])
    expect(progress.take(ended, 1)).toEqual(['done     base  100 MiB', 'failed   bad  nobody has it'])
    expect(progress.take(ended, 2)).toEqual([])
  })

  it('names of thousands only those that there is something to say of', () => {
    const progress = new Progress()
    const items = Array.from({ length: 1000 }, (_, index) => item(`image-${index}`, index === 7 ? 'failed' : 'done'))
    expect(progress.take(job(items), 0)).toEqual(['failed   image-7'])
  })

  it('forgets how fast it was when that was long ago', () => {
    const progress = new Progress()
    for (let second = 0; second <= 10; second++)
      progress.take(job([item('base', 'running', second * 5)]), second * 1000)
    expect(progress.draw(120)[0]).toContain('5.0 MiB/s')
    for (let second = 11; second <= 60; second++) progress.take(job([item('base', 'running', 50)]), second * 1000)
    expect(progress.draw(120)[0]).not.toContain('/s')
  })

  it('says how it goes now and then where nothing can be drawn', () => {
    const progress = new Progress()
    progress.take(job([item('base', 'running', 0)]), 0)
    expect(progress.sayNowAndThen(0)).toBeUndefined()
    progress.take(job([item('base', 'running', 50)]), 10_000)
    expect(progress.sayNowAndThen(10_000)).toBe(' 50%  50.0 MiB of 100 MiB  5.0 MiB/s  10s left, 0 of 1')
    expect(progress.sayNowAndThen(10_001)).toBeUndefined()
  })
})
