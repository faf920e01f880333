// Writes what is generated from src/config/schema.ts. A test compares: run it after changing the schema.
import { writeFile } from 'node:fs/promises'
import { exampleYaml, jsonSchema } from '../src/config.js'

const config = new URL('../config/', import.meta.url)
await writeFile(new URL('schema.json', config), jsonSchema())
await writeFile(new URL('example.yaml', config), exampleYaml())
