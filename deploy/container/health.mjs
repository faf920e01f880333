// Whether the mirror of this container can serve: exit code 0, or 1 with the reasons. It asks the operator address, which
// IMGAPI_MIRROR_OPERATOR changes for both of them.
const address = process.env.IMGAPI_MIRROR_OPERATOR ?? '127.0.0.1:8081'
try {
  const answer = await fetch(`http://${address}/readyz`, { signal: AbortSignal.timeout(4000) })
  console.log(await answer.text())
  process.exitCode = answer.ok ? 0 : 1
} catch (error) {
  console.log(String(error))
  process.exitCode = 1
}
