import type { FieldFailure } from '../errors.js'
import { brief, isJsonObject, type JsonObject } from '../parts/json-object.js'

/**
 * What is wrong with `manifest.requirements`; empty when nothing is. The messages are the reference's
 * (node-imgmanifest 3.2.0, lib/imgmanifest.js, `validateRequirements`).
 */
export function checkRequirements(requirements: unknown): FieldFailure[] {
  // Of a text every letter is an unknown requirement, as the reference has it.
  if (!isJsonObject(requirements) && !Array.isArray(requirements) && typeof requirements !== 'string') {
    return [invalid('requirements', `invalid image "requirements" (not an object): ${brief(requirements)}`)]
  }
  return Object.keys(requirements).flatMap((key) => checkRequirement(key, requirements as JsonObject))
}

/** What is wrong with one of them, seen among the others: some hang together. */
export function checkRequirement(key: string, requirements: JsonObject): FieldFailure[] {
  const check = CHECKS.get(key)
  if (!check) return [invalid(key, `unsupported requirement "${key}"`)]
  return check(requirements[key], `requirements.${key}`, requirements)
}

type Check = (value: unknown, field: string, requirements: JsonObject) => FieldFailure[]

const CHECKS = new Map<string, Check>([
  ['networks', checkNetworks],
  ['brand', checkType('string', 'a string')],
  ['ssh_key', (value, field) => (value ? checkType('boolean', 'a boolean')(value, field) : [])],
  ['min_ram', checkRam],
  ['max_ram', checkMaxRam],
  ['min_platform', checkPlatform],
  ['max_platform', checkPlatform],
  ['bootrom', checkBootrom],
])

const BOOTROMS = ['bios', 'uefi']

function checkNetworks(networks: unknown, field: string): FieldFailure[] {
  if (!Array.isArray(networks)) return [invalid(field, `invalid image "${field}" (not an array): ${brief(networks)}`)]
  const isNetwork = (entry: unknown) =>
    isJsonObject(entry) && 'name' in entry && 'description' in entry && Object.keys(entry).length === 2
  return networks
    .filter((entry) => !isNetwork(entry))
    .map((entry) => invalid(field, `invalid image "${field}" entry: ${brief(entry, 1000)}`))
}

function checkType(type: 'string' | 'boolean', words: string) {
  return (value: unknown, field: string): FieldFailure[] =>
    typeof value === type ? [] : [invalid(field, `invalid image "${field}" (not ${words}): ${brief(value)}`)]
}

function checkRam(value: unknown, field: string): FieldFailure[] {
  if (!value || (Number.isInteger(value) && Number(value) > 0)) return []
  return [invalid(field, `invalid image "${field}" (not a positive integer): ${brief(value)}`)]
}

function checkMaxRam(max: unknown, field: string, { min_ram: min }: JsonObject): FieldFailure[] {
  const failures = checkRam(max, field)
  if (failures.length > 0 || typeof max !== 'number' || typeof min !== 'number' || max === 0 || min <= max)
    return failures
  return [invalid(field, `min_ram must be <= max_ram, but:min_ram=${min}, max_ram=${max}`)]
}

function checkPlatform(platform: unknown, field: string): FieldFailure[] {
  if (!isJsonObject(platform) || Object.keys(platform).length === 0) {
    return [invalid(field, `invalid image "${field}" (not an object): ${brief(platform)}`)]
  }
  return Object.entries(platform)
    .filter(([, stamp]) => !isPlatformStamp(stamp))
    .map(([version, stamp]) => {
      const entry = `${version}: ${typeof stamp === 'string' ? stamp : brief(stamp)}`
      return invalid(field, `invalid image "${field}" entry: "${entry}" not a valid platform version`)
    })
}

/** `20130301T000000Z`. The reference lets some non-digits slip through; clients compare texts, so we do not. */
function isPlatformStamp(value: unknown): boolean {
  const match = typeof value === 'string' && /^(\d{4})(\d{2})(\d{2})T(\d{2})(\d{2})(\d{2})Z$/.exec(value)
  if (!match) return false
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = match.slice(1).map(Number)
  const isDate = year >= 2012 && month >= 1 && month <= 12 && day >= 1 && day <= 31
  return isDate && hour <= 23 && minute <= 59 && second <= 59
}

function checkBootrom(bootrom: unknown, field: string, { brand }: JsonObject): FieldFailure[] {
  if (brand === undefined) {
    const message = `"requirements.brand" not specified. "${field}" requires "requirements.brand" to be set to "bhyve"`
    return [{ field, code: 'MissingParameter', message }]
  }
  if (brand !== 'bhyve') {
    const found = typeof brand === 'string' ? brand : brief(brand)
    const complaint = `not supported with "${found}" brand; "requirements.brand" must be "bhyve"`
    return [invalid(field, `invalid bootrom "${field}" ${complaint}`)]
  }
  if (BOOTROMS.includes(bootrom as string)) return []
  const found = typeof bootrom === 'string' ? bootrom : brief(bootrom)
  return [invalid(field, `invalid bootrom "${field}" invalid entry "${found}"; must be one of: ${BOOTROMS.join(', ')}`)]
}

function invalid(field: string, message: string): FieldFailure {
  return { field, code: 'Invalid', message }
}
