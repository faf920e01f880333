import { killedSizes } from './killed-sizes.js'
import { openDisk, writeMadeUp } from './volumes.js'

// Says when it begins, so that whoever kills it does so while it is writing.
const medium = await openDisk(process.argv[2]!)
process.stdout.write('writing\n')
await writeMadeUp(medium, killedSizes)
process.stdout.write('done\n')
