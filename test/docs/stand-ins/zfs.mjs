// Stands in for zfs where commands of the documents are run: `zfs send` writes bytes, which are no file system.
if (process.argv[2] !== 'send') throw new Error('this stand-in only sends')
process.stdout.write(Buffer.alloc(200_000, `${process.argv[3]} `))
