"""Files: whole writes, schemas, checksums, the hub and run folders."""
