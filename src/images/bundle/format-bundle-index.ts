import type { BundledFile, BundledImage, BundleIndex, Icon } from './bundle-index.js'
import { BUNDLE_INDEX_LIMIT_BYTES } from './bundle-limits.js'
import { formatDocument, formatList } from './format-document.js'
import { BUNDLE_FORMAT } from './parse-bundle-index.js'

const toJson = JSON.stringify

/**
 * `bundle.json`. The same index is always the same bytes, which are what a bundle is named by. An image, a piece, a tag is a
 * line, so that `grep` and `diff` are of use.
 * @throws MirrorError BUNDLE_INVALID for one that is too long for anybody to read.
 */
export function formatBundleIndex(index: BundleIndex): Buffer {
  const { docker, for: receiver, from, provenance, series } = index
  const objects = docker.objects.map(({ digest, mediaType, repositories, sizeBytes }) =>
    toJson({ sha256: digest.hex, sizeBytes, mediaType, in: repositories }),
  )
  const layers = docker.layers.map((layer) => toJson(formatFile(layer)))
  const tags = docker.tags.map(({ digest, host, repository, tag }) => toJson({ host, repository, tag, digest }))
  return formatDocument('bundle.json', BUNDLE_INDEX_LIMIT_BYTES, {
    format: toJson(BUNDLE_FORMAT),
    version: '1',
    from: toJson({ site: from.site, key: from.key }),
    for: toJson(receiver ? { site: receiver.site, key: receiver.key ?? null, inventory: receiver.inventory } : null),
    series: toJson(series ? { name: series.name, number: series.number, previous: series.previous ?? null } : null),
    select: toJson(index.select),
    volumes: toJson(index.volumes),
    provenance: toJson({ sizeBytes: provenance.sizeBytes, sha256: provenance.sha256 }),
    requires: index.requires.map(({ files, name, uuid, version }) => {
      return toJson({ uuid, name, version, files: files.map(({ sha256, sizeBytes }) => ({ sizeBytes, sha256 })) })
    }),
    images: index.images.map(formatImage),
    pieces: index.pieces.map(({ endBytes, sha256, startBytes, volume }) =>
      toJson({ sha256, startBytes, endBytes, volume }),
    ),
    docker: `{"objects": ${formatList(objects)}, "layers": ${formatList(layers)}, "tags": ${formatList(tags)}}`,
  })
}

/** With the manifest's own text: what was served stays what it was. */
function formatImage({ files, icon, isPublication, manifest, upstream }: BundledImage): string {
  const rest = toJson({
    upstream,
    files: files.map(formatFile),
    icon: icon ? formatIcon(icon) : null,
    ...(isPublication && { publication: true }),
  })
  return `{"manifest":${manifest.json},${rest.slice(1)}`
}

function formatFile({ md5, sha1, sha256, sizeBytes }: BundledFile): BundledFile {
  return { sizeBytes, sha256, sha1, md5 }
}

function formatIcon({ sha256, sizeBytes, type }: Icon): Icon {
  return { type, sizeBytes, sha256 }
}
