"""What is true about a sweep: the files that a driver and its workers leave, in a folder or on an object store."""
