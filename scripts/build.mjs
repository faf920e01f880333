// npm run build
import { build, installPackages } from './ready.mjs'

process.exitCode = installPackages({ isDevelopment: true }) && build() ? 0 : 1
