import type { BundleIndex } from '../images/bundle/bundle-index.js'

/** README.txt of every volume: what lies here, for whoever finds it and has nothing else. It is the same in all of them. */
export function readmeText({
  for: receiver,
  from,
  images,
  requires,
  series,
  volumes,
}: Omit<BundleIndex, 'provenance'>): string {
  const names = images.map(({ manifest: { name, uuid, version } }) => `  ${uuid}  ${name} ${version}`)
  return `${[
    'Images for SmartOS, packed to be carried to where there is no network.',
    '',
    `From:     ${from.site}, which signs with the key ${from.key}`,
    `For:      ${receiver ? `${receiver.site}, whose inventory ${signedBy(receiver.key)}` : 'anybody'}`,
    ...(series ? [`Series:   ${series.name}, number ${series.number}`] : []),
    `Volumes:  ${volumes}${volumes > 1 ? '; each of them can be taken in without the others, in any order' : ''}`,
    '',
    'To take it in, at a mirror:',
    '',
    '  imgapi-mirror import-bundle <the directory that this directory is in>',
    '',
    'By hand, with the programs minisign, sha256sum, cat and imgadm:',
    '',
    '  minisign -V -p <their key>.pub -m volume.json    is it from whom it should be?',
    '  sha256sum files/<name>                           a file is named by what it must be',
    '  imgadm install -m manifests/<uuid>.json -f files/<name>',
    '',
    'bundle.json says which files an image has. A file in parts, <name>.<start>-<end>, is put together again by cat, in the order of',
    '<start>. An image that builds on another one, its "origin", is installed after it.',
    '',
    `Images (${images.length}):`,
    ...names,
    ...(requires.length > 0
      ? [
          '',
          'They build on these, which are not here, as the receiver has them:',
          ...requires.map(({ name, uuid, version }) => `  ${uuid}  ${name} ${version}`),
        ]
      : []),
  ].join('\n')}\n`
}

function signedBy(key: string | undefined): string {
  return key === undefined ? 'nobody trusted had signed' : `was signed with the key ${key}`
}
