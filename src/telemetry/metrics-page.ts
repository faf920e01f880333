import type { MetricFacts } from './counters.js'

const BEFORE = `# Metrics

\`GET /metrics\` on the operator listener, in the text format of Prometheus. This page is generated from the source.

- Times are timestamps: \`time() - imgapi_mirror_upstream_last_heard_timestamp_seconds\` is the age of a catalogue.
- Counters begin at 0 with every start: ask for \`rate()\` or \`increase()\`. What is labelled with an upstream appears when there is something to count.
- Labels have words of the configuration and of the source in them, never of clients: \`route\` is \`/images/:uuid\`, and \`none\` for a path that
  leads nowhere.
- What every process on Node has is there too: \`nodejs_eventloop_lag_p99_seconds\`, \`process_resident_memory_bytes\`, \`process_open_fds\` and so on.

A dashboard for Grafana is \`deploy/grafana/imgapi-mirror.json\`; rules and alerts for Prometheus, each with what to do, are \`deploy/prometheus/rules.yml\`
and \`alerts.yml\`. To scrape a mirror on the same machine:

\`\`\`yml
scrape_configs:
  - job_name: imgapi-mirror
    static_configs:
      - targets: ["127.0.0.1:8081"]
rule_files: [rules.yml, alerts.yml]
\`\`\`

Whoever reaches the operator listener may read this, unless \`operatorAccess\` says \`probes: restricted\`; then Prometheus needs the operators' token
(\`authorization: {credentials_file: ...}\`).

`

/** docs/metrics.md */
export function metricsPage(metrics: readonly MetricFacts[]): string {
  const rows = metrics.map(({ name, kind, labels, help }) => [
    `\`${name}\``,
    kind,
    labels.map((label) => `\`${label}\``).join(', '),
    help.replaceAll('|', '\\|'),
  ])
  const table = [['Metric', 'Kind', 'Labels', 'What it says'], ...rows]
  const widths = table[0]!.map((_, column) => Math.max(...table.map((row) => row[column]!.length)))
  const lines = table.map((row) => `| ${row.map((cell, column) => cell.padEnd(widths[column]!)).join(' | ')} |`)
  lines.splice(1, 0, `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`)
  return `${BEFORE}${lines.join('\n')}\n`
}
