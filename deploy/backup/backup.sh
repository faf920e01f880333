#!/bin/sh
#
# backup.sh DATA BACKUP: copies the data directory of a mirror, which may run and work meanwhile, to a directory. Run it again, and
# only what is new is copied. On ZFS take a snapshot instead; it is all of this in one moment.
#
# The order is the whole trick. Files of images never change under their names, and what names them comes after them: copied in
# reverse, whatever is named in the backup is in the backup. What names them is written as a whole, or line by line, and a torn
# last line is left out at start. docs/backup.md has the rest.

set -eu

if [ $# -ne 2 ] || [ ! -f "$1/FORMAT" ]; then
    echo "usage: backup.sh DATA BACKUP, where DATA is the data directory of a mirror" >&2
    exit 2
fi
data=${1%/}
backup=${2%/}
mkdir -p "$backup"

# What leaves while it is copied (rsync: 24) leaves the mirror, too, and is no failure.
copy() {
    rsync -a "$@" || [ $? -eq 24 ]
}

# 1. All that names: images, claims, tags, keys, and the head of the ledger. Without what is made anew at start (index, lock,
#    ballast), and what is not whole (partial).
copy --delete --exclude=/index --exclude=/lock --exclude=/ballast --exclude=/partial \
    --exclude=/blobs --exclude=/fingerprints "$data/" "$backup/"
# 2. The ledger once more, without its head: now it reaches at least as far as the head says.
copy --exclude=/ledger/head --exclude=/ledger/head.minisig "$data/ledger" "$backup/"
# 3. What is named: bytes of images.
copy --delete "$data/fingerprints" "$data/blobs" "$backup/"
