import { readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { parse, stringify } from 'yaml'
import { Counters } from '../../src/telemetry/counters.js'
import { runCommand } from '../cli/run-command.js'
import { download } from '../support/download.js'
import { makeImage, uuidOf } from '../support/made-up-images.js'
import { promtool, startPrometheus, whyNoPrometheus } from '../support/prometheus.js'
import { startMirror, until } from '../support/running-mirror.js'
import { temporaryDirectory } from '../support/temporary.js'
import { startUpstream } from '../support/upstreams/start-upstream.js'
import { ALERT_CASES, type Series } from './alert-cases.js'

const deploy = join(import.meta.dirname, '..', '..', 'deploy')
const RULES = join(deploy, 'prometheus', 'rules.yml')
const ALERTS = join(deploy, 'prometheus', 'alerts.yml')

interface Rule {
  readonly alert?: string
  readonly record?: string
  readonly expr: string
  readonly labels?: { readonly severity: string }
  readonly annotations?: { readonly summary: string; readonly runbook: string }
}
const rulesIn = (file: string) =>
  (parse(readFileSync(file, 'utf8')) as { groups: { rules: Rule[] }[] }).groups.flatMap(({ rules }) => rules)
const alerts = rulesIn(ALERTS)

interface Panel {
  readonly title: string
  readonly targets?: readonly { readonly expr: string }[]
}
interface Dashboard {
  readonly panels: readonly Panel[]
  readonly annotations: { readonly list: readonly { readonly expr: string }[] }
}
const dashboard = JSON.parse(readFileSync(join(deploy, 'grafana', 'imgapi-mirror.json'), 'utf8')) as Dashboard

/** As Grafana would ask: every mirror, and the shortest span that has two scrapes in it. */
const asAsked = (expression: string) =>
  expression.replaceAll('$__rate_interval', '10s').replaceAll('"$instance"', '".*"')
const panelQueries = dashboard.panels.flatMap(({ title, targets = [] }) =>
  targets.map(({ expr }) => ({ title, expr: asAsked(expr) })),
)
const queries = [
  ...panelQueries.map(({ expr }) => expr),
  ...dashboard.annotations.list.map(({ expr }) => asAsked(expr)),
]

/** Metrics of ours that an expression asks for; what a histogram is taken apart into counts as itself. */
function metricsIn(expression: string): string[] {
  const names = expression.match(/(?<![:\w])imgapi_mirror_\w+/g) ?? []
  return names.map((name) => name.replace(/_(bucket|sum|count)$/, ''))
}

const known = new Set(new Counters().describe().map(({ name }) => name))

it('asks only for metrics that there are', () => {
  const asked = [...queries, ...alerts.map(({ expr }) => expr), ...rulesIn(RULES).map(({ expr }) => expr)]
  expect(asked.flatMap(metricsIn).filter((name) => !known.has(name))).toEqual([])
  expect(asked.flatMap(metricsIn).length).toBeGreaterThan(80)
})

it('shows every metric on the dashboard, but what is only for asking', () => {
  const shown = new Set(queries.flatMap(metricsIn))
  const left = [...known].filter((name) => !shown.has(name))
  expect(left).toEqual([
    'imgapi_mirror_blob_bytes',
    'imgapi_mirror_blobs',
    'imgapi_mirror_conflicts_found_total',
    'imgapi_mirror_refreshes_total',
    'imgapi_mirror_scrub_too_slow',
    'imgapi_mirror_tag_moves_total',
    'imgapi_mirror_upstream_breaker_opened_total',
    'imgapi_mirror_upstream_set_aside_manifests',
  ])
})

it('says with every alert what to do, in commands that there are', async () => {
  const { out: help } = await runCommand(['--help'])
  for (const { alert, annotations, labels } of alerts) {
    expect(['critical', 'warning'], alert).toContain(labels?.severity)
    expect(annotations?.summary, alert).toMatch(/\{\{ \$labels\.instance \}\}/)
    expect(annotations?.runbook.length, alert).toBeGreaterThan(80)
    for (const [, command] of annotations!.runbook.matchAll(/`imgapi-mirror ([a-z]+)/g)) {
      expect(help, alert).toMatch(new RegExp(`^  ${command}[ |]`, 'm'))
    }
  }
})

const whyNot = whyNoPrometheus()

describe.skipIf(whyNot !== undefined)(`Debian's Prometheus${whyNot ? ` (${whyNot})` : ''}`, () => {
  it('finds nothing wrong with the rules', async () => {
    expect(await promtool(['check', 'rules', RULES, ALERTS])).not.toMatch(/FAILED|error|duplicate/i)
  })

  it('fires each alert when it should, and not when it only looks like it', async () => {
    expect(Object.keys(ALERT_CASES)).toEqual(alerts.map(({ alert }) => alert))
    const test = (alert: string, minutes: number, series: Series, firing: number) => ({
      interval: '1m',
      name: `${alert}, ${firing ? 'fires' : 'quiet'}`,
      input_series: Object.entries(series).map(([name, values]) => ({ series: name, values })),
      promql_expr_test: [
        {
          expr: `count(ALERTS{alertname="${alert}",alertstate="firing"}) or vector(0)`,
          eval_time: `${minutes}m`,
          exp_samples: [{ labels: '{}', value: firing }],
        },
      ],
    })
    const tests = Object.entries(ALERT_CASES).flatMap(([alert, { minutes, fires, quiet }]) => [
      test(alert, minutes, fires, 1),
      test(alert, minutes, quiet, 0),
    ])
    const file = join(await temporaryDirectory(), 'alerts.test.yml')
    await writeFile(file, stringify({ rule_files: [RULES, ALERTS], evaluation_interval: '1m', tests }))
    expect(await promtool(['test', 'rules', file])).toContain('SUCCESS')
  })

  it('reads what a mirror tells, and answers everything that the dashboard asks', async () => {
    const image = makeImage()
    const upstream = await startUpstream({ images: [image] })
    const mirror = await startMirror({
      quota: '1GiB',
      upstreams: [{ name: 'central', url: upstream.url, rate: '100MB/s' }],
    })
    await mirror.settled()
    const text = await (await fetch(`${mirror.operatorUrl}/metrics`)).text()
    // Promtool's lint has an opinion on names and help texts; those that every process on Node has are not ours.
    const ours = text.split('\n').filter((line) => /^(# (HELP|TYPE) )?imgapi_mirror_/.test(line))
    expect(await promtool(['check', 'metrics'], `${ours.join('\n')}\n`)).toBe('')
    const told = new Set(ours.flatMap((line) => /^# TYPE (\S+)/.exec(line)?.[1] ?? []))
    expect([...told].toSorted()).toEqual([...known].toSorted())

    expect((await download(mirror.url, uuidOf(image))).kind).toBe('complete')
    await until(async () => (await mirror.status()).imagesHeld === 1)
    const prometheus = await startPrometheus(new URL(mirror.operatorUrl).host, [RULES, ALERTS])
    expect((await download(mirror.url, uuidOf(image))).kind).toBe('complete')
    const hits = 'imgapi_mirror_files_asked_total{outcome="hit"} == 1'
    await until(async () => (await prometheus.query(hits)).data.result.length > 0)

    for (const query of queries) {
      const { error, status } = await prometheus.query(query)
      expect(status, `${query}: ${error}`).toBe('success')
    }
    // Of what is first seen when it is counted, there is nothing yet; of all else there is.
    const rare = /pulls_|breaker_open\b.*==|scrubbed|prewarmed|http_requests_total.*5\.\.|not_asked/
    const empty: string[] = []
    for (const { title, expr } of panelQueries) {
      if (rare.test(expr)) continue
      if ((await prometheus.query(expr)).data.result.length === 0) empty.push(`${title}: ${expr}`)
    }
    expect(empty).toEqual([])

    const { data } = (await prometheus.get('/api/v1/rules')) as {
      data: { groups: { rules: { name: string; health: string; state?: string }[] }[] }
    }
    const rules = data.groups.flatMap((group) => group.rules)
    expect(rules.filter(({ health }) => health !== 'ok')).toEqual([])
    expect(rules.filter(({ state }) => state === 'firing')).toEqual([])
    const received = await prometheus.query('imgapi_mirror_upstream_received_bytes_total{upstream="central"}')
    expect(received.data.result[0]?.value[1]).toBe(String(image.files[0]!.length))
  })
})
