"""The files of a sweep, in a folder or on an object store. They are the truth about it."""
