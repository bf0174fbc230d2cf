"""One file per source; each has a class whose `load()` returns `RawData` and whose `files()` lists what it reads."""
